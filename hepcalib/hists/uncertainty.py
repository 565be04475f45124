"""Histograms of the predicted uncertainties: their spectrum, where in the detector, their pulls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import hist
import numpy as np

from hepcalib.exceptions import DataError, suggestion
from hepcalib.hists.axes import KINDS, category_axis, fill, histogram, variable_axis

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hist import Hist
    from numpy.typing import ArrayLike

__all__ = [
    "PULLS",
    "fill_pull",
    "fill_uncertainty",
    "fill_uncertainty_rapidity",
    "pull",
    "uncertainty",
    "uncertainty_rapidity",
]

_RELATIVE = r"Relative uncertainty $\sigma\,/\,R$"
_PULL = r"Pull $t = (L_\mathrm{pred} - L_\mathrm{true})\,/\,\sigma$"
_CORE, _STEP = 20.0, 0.1  # pulls up to here are in bins of this width,
_FURTHEST, _TAIL_BINS = 1e7, 116  # those up to here in bins 12 % wide

PULLS: Mapping[str, str] = dict(
    zip(KINDS, ("pull", *(f"residual over {kind}" for kind in KINDS[1:])), strict=True)
)
"""Kind of uncertainty -> what the residual over it is called: only that over the total is a pull.

The truth differs from the prediction by the systematic uncertainty too, so that the residual over
the statistical one is no pull, and is not expected to have width 1.
"""


def pull() -> Hist[Any]:
    """Return the empty histogram of residuals over uncertainties.

    Axes kind (`PULLS`), pull (0.1 wide from -20 to 20, 12 % wide beyond, to 1e7 either way).
    """
    tail = np.geomspace(_CORE, _FURTHEST, _TAIL_BINS + 1)[1:]
    core = np.linspace(-_CORE, _CORE, 2 * round(_CORE / _STEP) + 1)
    axis = hist.axis.Variable(np.concatenate([-tail[::-1], core, tail]), name="pull", label=_PULL)
    return histogram(category_axis("kind", list(PULLS.values()), label="Residual over"), axis)


def fill_pull(
    histogram: Hist[Any], *, kind: str, pull: ArrayLike, weight: ArrayLike | None = None
) -> None:
    """Fill residuals over one kind of uncertainty (rows,): total, systematic or statistical.

    Raises:
        DataError: if the kind is unknown, or a pull is NaN.
        ShapeError: if the lengths differ.
    """
    if kind not in PULLS:
        msg = f"no kind of uncertainty is called {kind!r}. {suggestion(kind, PULLS)}"
        raise DataError(msg)
    fill(histogram, weight, categories={"kind": PULLS[kind]}, values={"pull": pull})


def uncertainty() -> Hist[Any]:
    """Return the empty histogram of the relative uncertainties: axes kind, uncertainty.

    400 bins of equal width in the logarithm, 1e-3 to 10.
    """
    axis = hist.axis.Variable(
        np.geomspace(1e-3, 10.0, 401), name="uncertainty", label=_RELATIVE, metadata="log"
    )
    return histogram(category_axis("kind", KINDS, label="Uncertainty"), axis)


def fill_uncertainty(
    histogram: Hist[Any], *, kind: str, uncertainty: ArrayLike, weight: ArrayLike | None = None
) -> None:
    """Fill relative uncertainties (rows,) of one kind: total, systematic or statistical.

    Raises:
        DataError: if the kind is unknown, or a value is NaN.
        ShapeError: if the lengths differ.
    """
    fill(histogram, weight, categories={"kind": kind}, values={"uncertainty": uncertainty})


def uncertainty_rapidity() -> Hist[Any]:
    """Return the empty histogram of the total relative uncertainty against rapidity.

    Axes rapidity (50 bins of 0.1), uncertainty (100 bins of equal ratio, 1e-2 to 10).
    """
    axis = hist.axis.Variable(
        np.geomspace(1e-2, 10.0, 101), name="uncertainty", label=_RELATIVE, metadata="log"
    )
    return histogram(variable_axis("rapidity"), axis)


def fill_uncertainty_rapidity(
    histogram: Hist[Any],
    *,
    rapidity: ArrayLike,
    uncertainty: ArrayLike,
    weight: ArrayLike | None = None,
) -> None:
    """Fill rapidities (rows,) and total relative uncertainties (rows,).

    Raises:
        DataError: if a value is NaN.
        ShapeError: if the lengths differ.
    """
    columns = {"rapidity": rapidity, "uncertainty": uncertainty}
    fill(histogram, weight, categories={}, values=columns)
