"""Numerical inversion: the calibration that undoes the average response, whatever the spectrum."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hepcalib.calibration.monotone import monotone_curve
from hepcalib.calibration.response_nodes import (
    STATISTICS,
    ResponseSample,
    bins_of,
    cell_name,
    response_nodes,
)
from hepcalib.exceptions import ConfigError, DataError, ShapeError, suggestion

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Self

    from numpy.typing import ArrayLike

__all__ = ["NumericalInversion"]

Floats: TypeAlias = NDArray[np.float64]
Statistic: TypeAlias = Literal["mean", "median", "mode"]
Spacing: TypeAlias = Literal["linear", "log"]

_SPACINGS = ("linear", "log")


@dataclass(frozen=True, kw_only=True)
class NumericalInversion:
    r"""The inverse of the average response as a function of the truth.

    .. math:: f(x) = T[Y | X = x], \quad Z = f^{-1}(Y), \quad \sigma_Z = \sigma_Y / f'

    It conditions on the truth, so that no spectrum enters. The median closes for every increasing
    f, the mean only if f is linear. Between the nodes f^-1 is a monotone cubic, beyond them it is
    straight, in the values ("linear") or in their logarithms ("log").

    Reference: arXiv:1609.05195.

    Args:
        true: Truths of the nodes, ascending (nodes,).
        measured: f at the nodes, ascending along the last axis (cells of each auxiliary variable
            ..., nodes).
        auxiliary: Name -> bin edges of each auxiliary variable, in the order of the axes.
        statistic: What f is the mean, median or mode of.
        spacing: "linear", or "log" for values that are all positive.

    Raises:
        DataError: if f does not rise between two nodes; the message names the bin.
        ShapeError: if the parts do not fit together.
        ConfigError: if the statistic or the spacing is unknown.
    """

    true: Floats
    measured: Floats
    auxiliary: Mapping[str, Floats] = field(default_factory=dict)
    statistic: Statistic = "median"
    spacing: Spacing = "linear"

    def __post_init__(self) -> None:
        for name in ("true", "measured"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=np.float64))
        edges = {k: np.asarray(v, dtype=np.float64) for k, v in self.auxiliary.items()}
        object.__setattr__(self, "auxiliary", edges)
        _require("statistic", self.statistic, tuple(STATISTICS))
        _require("spacing", self.spacing, _SPACINGS)
        shape = (*(len(e) - 1 for e in edges.values()), len(self.true))
        if self.measured.shape != shape or len(self.true) < 2:
            msg = f"numerical inversion: measured {self.measured.shape}; needed: {shape}, 2 nodes"
            raise ShapeError(msg)
        _require_rising(self.true, "true", "")
        for cell, nodes in self._cells():
            place = cell_name(cell, self.auxiliary)
            _require_rising(nodes, f"{self.statistic} of measured", place, self.true)
        if self.spacing == "log" and not (self.true[0] > 0.0 and np.all(self.measured > 0.0)):
            msg = "numerical inversion: a node is not positive; needed for spacing 'log'"
            raise DataError(msg)

    @classmethod
    def of(
        cls,
        function: Callable[[Floats], ArrayLike],
        *,
        low: float,
        high: float,
        nodes: int = 1000,
        spacing: Spacing = "linear",
        statistic: Statistic = "median",
    ) -> Self:
        """Return the inversion of a known function f, from equidistant nodes in [low, high]."""
        grid = np.geomspace if spacing == "log" else np.linspace
        true = np.asarray(grid(low, high, nodes), dtype=np.float64)
        measured = np.asarray(function(true), dtype=np.float64)
        return cls(true=true, measured=measured, spacing=spacing, statistic=statistic)

    @classmethod
    def fit(
        cls,
        true: ArrayLike,
        measured: ArrayLike,
        *,
        edges: ArrayLike,
        statistic: Statistic = "median",
        spacing: Spacing = "log",
        auxiliary: Mapping[str, tuple[ArrayLike, ArrayLike]] | None = None,
        weight: ArrayLike | None = None,
        minimum_entries: int = 20,
    ) -> Self:
        """Return the inversion of the response found in bins of the truth.

        In a bin, T is that of measured / true ("log") or measured - true ("linear"), which hardly
        change inside it: so the spectrum inside the bin does not matter either.

        Args:
            true: Truths (rows,).
            measured: Measurements (rows,).
            edges: Bin edges of the truth; the nodes are at the mean truth of the bins.
            statistic: mean, median or mode.
            spacing: "linear" or "log".
            auxiliary: Name -> (values (rows,), bin edges) of variables to fit in bins of.
            weight: Event weights (rows,), not negative.
            minimum_entries: Rows that each bin needs.

        Raises:
            DataError: if a bin has too few rows, or f does not rise; the message names the bin.
        """
        _require("statistic", statistic, tuple(STATISTICS))
        _require("spacing", spacing, _SPACINGS)
        others = auxiliary or {}
        bins = {name: np.asarray(own, dtype=np.float64) for name, (_, own) in others.items()}
        sample = ResponseSample.of(
            true,
            measured,
            weight=weight,
            auxiliary={k: values for k, (values, _) in others.items()},
        )
        middles, nodes = response_nodes(
            sample,
            {**bins, "true": np.asarray(edges, dtype=np.float64)},
            statistic=statistic,
            spacing=spacing,
            minimum_entries=minimum_entries,
        )
        return cls(
            true=middles, measured=nodes, auxiliary=bins, statistic=statistic, spacing=spacing
        )

    @property
    def state(self) -> dict[str, Any]:
        """All that determines the inversion, as JSON can hold it."""
        return {
            "true": self.true.tolist(),
            "measured": self.measured.tolist(),
            "auxiliary": {name: own.tolist() for name, own in self.auxiliary.items()},
            "statistic": self.statistic,
            "spacing": self.spacing,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """Return the inversion whose `state` this is."""
        return cls(**state)

    def apply(self, measured: ArrayLike, **auxiliary: ArrayLike) -> Floats:
        """Return the calibrated values f^-1(measured), (rows,).

        Values of an auxiliary variable outside of its bins take the nearest bin.

        Raises:
            ConfigError: if an auxiliary variable is missing or unknown.
            DataError: if a value is NaN, or not positive with spacing "log".
        """
        return self._inverse(measured, auxiliary)[0]

    def factor(self, measured: ArrayLike, **auxiliary: ArrayLike) -> Floats:
        """Return calibrated over measured, (rows,), what a correction file holds."""
        return self.apply(measured, **auxiliary) / np.asarray(measured, dtype=np.float64)

    def width(self, measured: ArrayLike, sigma: ArrayLike, **auxiliary: ArrayLike) -> Floats:
        """Return the width sigma / f' of the calibrated value, for a width sigma of the measured.

        (Not sigma over the response: f' is the response plus x times its slope.)
        """
        return np.asarray(self._inverse(measured, auxiliary)[1] * np.asarray(sigma))

    def half_width(self, low: ArrayLike, high: ArrayLike, **auxiliary: ArrayLike) -> Floats:
        """Return (f^-1(high) - f^-1(low)) / 2, exact for quantiles of the measured value."""
        return 0.5 * (self.apply(high, **auxiliary) - self.apply(low, **auxiliary))

    def in_range(self, measured: ArrayLike, **auxiliary: ArrayLike) -> NDArray[np.bool_]:
        """Tell which measurements are between the nodes and in the auxiliary bins, (rows,)."""
        y = np.asarray(measured, dtype=np.float64)
        inside = np.zeros(y.shape, dtype=bool)
        for rows, nodes in self._rows(y, auxiliary):
            inside[rows] = (y[rows] >= nodes[0]) & (y[rows] <= nodes[-1])
        for name, edges in self.auxiliary.items():
            values = np.asarray(auxiliary[name], dtype=np.float64)
            inside &= (values >= edges[0]) & (values <= edges[-1])
        return inside

    def _inverse(
        self, measured: ArrayLike, auxiliary: Mapping[str, ArrayLike]
    ) -> tuple[Floats, Floats]:
        """Return f^-1 and its slope."""
        y = np.asarray(measured, dtype=np.float64)
        log = self.spacing == "log"
        bad = ~(y > 0.0) if log else np.isnan(y)
        if bad.any():
            row = int(bad.argmax())
            msg = (
                f"numerical inversion: measured {y.flat[row]} in row {row} ({bad.sum()} such "
                f"rows); needed: {'positive' if log else 'a number'}"
            )
            raise DataError(msg)
        value, slope = np.empty(y.shape), np.empty(y.shape)
        for rows, nodes in self._rows(y, auxiliary):
            if log:
                height, rise = monotone_curve(np.log(y[rows]), np.log(nodes), np.log(self.true))
                value[rows] = np.exp(height)
                slope[rows] = rise * value[rows] / y[rows]
            else:
                value[rows], slope[rows] = monotone_curve(y[rows], nodes, self.true)
        return value, slope

    def _rows(
        self, y: Floats, auxiliary: Mapping[str, ArrayLike]
    ) -> Iterator[tuple[NDArray[np.bool_], Floats]]:
        """Yield the rows of each cell and its nodes."""
        if set(auxiliary) != set(self.auxiliary):
            msg = f"numerical inversion: got {sorted(auxiliary)}; needed: {sorted(self.auxiliary)}"
            raise ConfigError(msg)
        places = {
            name: np.clip(bins_of(np.asarray(auxiliary[name]), edges), 0, len(edges) - 2)
            for name, edges in self.auxiliary.items()
        }
        for cell, nodes in self._cells():
            rows = np.ones(y.shape, dtype=bool)
            for own, k in zip(places.values(), cell, strict=True):
                rows &= own == k
            yield rows, nodes

    def _cells(self) -> Iterator[tuple[tuple[int, ...], Floats]]:
        for cell in np.ndindex(self.measured.shape[:-1]):
            yield cell, self.measured[cell]


def _require(what: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        msg = f"numerical inversion: unknown {what} '{value}'. {suggestion(value, known)}"
        raise ConfigError(msg)


def _require_rising(nodes: Floats, what: str, place: str, at: Floats | None = None) -> None:
    flat = ~(np.diff(nodes) > 0.0)
    if flat.any():
        k = int(flat.argmax())
        where = nodes if at is None else at
        msg = (
            f"numerical inversion: the {what} goes from {nodes[k]:.6g} to {nodes[k + 1]:.6g} "
            f"between true = {where[k]:.6g} and {where[k + 1]:.6g}{place and f' in bin {place}'}; "
            "it must rise. Widen the bins or leave out that range"
        )
        raise DataError(msg)
