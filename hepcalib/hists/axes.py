"""The variables that results are shown against, and the one way to make and fill an axis.

No axis grows: chunks of one data set must give histograms that add. Category axes have no overflow,
so that a projection over the categories never counts anything twice; `fill` refuses an unknown one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import hist
import numpy as np
from numpy.typing import ArrayLike, NDArray

from hepcalib.casting import cast
from hepcalib.exceptions import ConfigError, DataError, ShapeError, suggestion

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hist import Hist

__all__ = [
    "FLAVOURS",
    "KINDS",
    "LABELS",
    "VARIABLES",
    "Floats",
    "Variable",
    "category_axis",
    "fill",
    "flavour_bins",
    "histogram",
    "variable_axis",
]

Floats: TypeAlias = NDArray[np.float64]

KINDS = ("total", "systematic", "statistical")
"""The uncertainties of a prediction."""

LABELS = ("background", "signal", "unlabelled")
"""The truth of a jet; unlabelled is what real data are."""


class Variable(NamedTuple):
    """A binned variable: its label with the unit, its bin edges and how its axis is drawn."""

    label: str
    edges: tuple[float, ...]
    spacing: Literal["linear", "log"] = "linear"
    names: tuple[str, ...] = ()  # of the bins, if they are categories


def _steps(low: float, high: float, bins: int) -> tuple[float, ...]:
    return tuple(float(edge) for edge in np.round(np.linspace(low, high, bins + 1), 9))


_ENERGY = (0.3, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 2000.0)
_PT = (20, 30, 50, 80, 120, 200, 260, 330, 430, 560, 720, 930, 1200, 1550, 2000)

_MASS = (1.0, 2.0, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 100.0, 120.0)
_JET_ENERGY = (20, 50, 100, 150, 200, 300, 400, 500, 650, 800, 1000, 1500, 2000, 3000, 5000, 10000)

FLAVOURS: Mapping[int, str] = {
    0: "unknown",
    21: r"$g$",
    1: r"$uds$",
    4: r"$c$",
    5: r"$b$",
    24: r"$W$",
    6: r"$t$",
}
"""Code in the standard column `flavour` -> how a figure calls it, in the order of the bins."""

VARIABLES: Mapping[str, Variable] = {
    "true_energy": Variable(r"$E_\mathrm{dep}$ [GeV]", _ENERGY, "log"),
    "calibrated_energy": Variable(r"$E_\mathrm{cal}$ [GeV]", _ENERGY, "log"),
    "true_sum": Variable(
        r"$\sum E_\mathrm{dep}$ of the clusters of an event [GeV]", _ENERGY, "log"
    ),
    "rapidity": Variable(r"Rapidity $y$", _steps(-2.5, 2.5, 50)),
    "true_pt": Variable(r"Particle-level jet $p_\mathrm{T}$ [GeV]", _PT, "log"),
    "true_mass": Variable(
        r"Particle-level jet mass $m$ [GeV]", (*_MASS, 150.0, 200.0, 300.0, 500.0), "log"
    ),
    "true_jet_energy": Variable(r"Particle-level jet energy $E$ [GeV]", _JET_ENERGY, "log"),
    "pt": Variable(r"Jet $p_\mathrm{T}$ [GeV]", _PT, "log"),
    "eta": Variable(r"Jet $\eta$", _steps(-2.5, 2.5, 25)),
    "mass": Variable(r"Jet mass $m$ [GeV]", _steps(50.0, 300.0, 50)),
    "flavour": Variable("Jet flavour", _steps(-0.5, 6.5, 7), names=tuple(FLAVOURS.values())),
    "mu": Variable(r"Mean interactions per crossing $\mu$", _steps(0.0, 80.0, 8)),
    "n_pv": Variable(
        r"Primary vertices $N_\mathrm{PV}$", (*_steps(0.0, 40.0, 8), 50.0, 60.0, 80.0)
    ),
    "rho": Variable(r"Pile-up density $\rho$ [GeV]", (*_steps(0.0, 40.0, 8), 50.0, 60.0, 80.0)),
}
"""Every variable a result can be shown against, in the bins of physics practice."""


def category_axis(name: str, categories: Sequence[str], *, label: str) -> hist.axis.StrCategory:
    """Return a fixed category axis without overflow.

    Raises:
        ConfigError: if there is no category, or one of them twice.
    """
    names = list(categories)
    if not names or len(set(names)) != len(names):
        msg = f"axis {name!r}: needs at least one category and each only once, got {names}."
        raise ConfigError(msg)
    return hist.axis.StrCategory(names, name=name, label=label, overflow=False)


def variable_axis(name: str, *, edges: Sequence[float] | None = None) -> hist.axis.Variable:
    """Return the axis of one of `VARIABLES`; its metadata is "linear" or "log".

    Args:
        name: Name of the variable.
        edges: Other bin edges than its own, rising.

    Raises:
        ConfigError: if the variable is unknown, or the edges do not rise.
    """
    if name not in VARIABLES:
        msg = f"unknown variable {name!r}. {suggestion(name, VARIABLES)}"
        raise ConfigError(msg)
    variable = VARIABLES[name]
    chosen = np.asarray(variable.edges if edges is None else edges, dtype=np.float64)
    if chosen.ndim != 1 or chosen.size < 2 or not (np.diff(chosen) > 0.0).all():
        msg = f"bins of '{name}': edges {chosen.tolist()}; needed: at least two, in ascending order"
        raise ConfigError(msg)
    return hist.axis.Variable(chosen, name=name, label=variable.label, metadata=variable.spacing)


def flavour_bins(codes: ArrayLike) -> Floats:
    """Return the centre of each jet's bin on the axis `flavour`: (rows,) -> (rows,).

    Args:
        codes: The standard column `flavour`.

    Raises:
        DataError: if a code is not one of `FLAVOURS`.
    """
    given = cast(codes, np.int64, what="jet flavour")
    known = given[:, None] == np.array(list(FLAVOURS))
    if not known.any(axis=1).all():
        unknown = sorted({int(code) for code in given[~known.any(axis=1)]})
        msg = f"unknown jet flavour {unknown}; needed: {sorted(FLAVOURS)}"
        raise DataError(msg)
    return np.asarray(known.argmax(axis=1), dtype=np.float64)


def histogram(*axes: Any) -> Hist[Any]:
    """Return an empty histogram that keeps sums of weights and of their squares."""
    return hist.Hist(*axes, storage=hist.storage.Weight(), label="Entries")


def fill(
    histogram: Hist[Any],
    weight: ArrayLike | None,
    *,
    categories: Mapping[str, str],
    values: Mapping[str, ArrayLike],
) -> None:
    """Fill columns into a histogram, refusing what hist would lose without a word.

    Args:
        histogram: Histogram with an axis for each category and each column; changed in place.
        weight: Event weights (rows,), of either sign; 1 when None.
        categories: Axis name -> the category of all rows.
        values: Axis name -> column (rows,). Infinite values go to the flow bins.

    Raises:
        DataError: if a category is not on its axis, a value is NaN, missing or no number, or a
            weight is not finite.
        ShapeError: if the columns have different lengths.
    """
    for name, category in categories.items():
        known = list(histogram.axes[name])
        if category not in known:
            msg = f"axis {name!r} has no category {category!r}. {suggestion(category, known)}"
            raise DataError(msg)
    columns = {name: _floats(name, column) for name, column in values.items()}
    weights = None if weight is None else _floats("weight", weight)
    checked = columns if weights is None else {**columns, "weight": weights}
    if len({column.shape for column in checked.values()}) > 1 or any(
        column.ndim != 1 for column in checked.values()
    ):
        shapes = {name: column.shape for name, column in checked.items()}
        msg = f"columns to fill must be flat and of one length, got {shapes}."
        raise ShapeError(msg)
    for name, column in checked.items():
        bad = ~np.isfinite(column) if name == "weight" else np.isnan(column)
        if bad.any():
            row = int(bad.argmax())
            msg = (
                f"column {name!r}: {int(bad.sum())} of {bad.size} values cannot be filled, the "
                f"first is {column[row]} in row {row}. Values must not be NaN, weights finite."
            )
            raise DataError(msg)
    rows: dict[str, Any] = {**categories, **columns}
    histogram.fill(*(rows[axis.name] for axis in histogram.axes), weight=weights)


def _floats(name: str, column: ArrayLike) -> Floats:
    if isinstance(column, np.ma.MaskedArray):
        missing = int(np.ma.getmaskarray(column).sum())
        if missing:
            msg = f"column {name!r}: {missing} of {column.size} values are missing (masked)."
            raise DataError(msg)
    return cast(column, np.float64, what=f"column {name!r}")
