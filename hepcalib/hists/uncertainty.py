"""Histograms of the predicted uncertainties: their spectrum, where in the detector, their pulls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import hist
import numpy as np

from hepcalib.hists.axes import KINDS, category_axis, fill, histogram, variable_axis

if TYPE_CHECKING:
    from hist import Hist
    from numpy.typing import ArrayLike

__all__ = [
    "fill_pull",
    "fill_uncertainty",
    "fill_uncertainty_rapidity",
    "pull",
    "uncertainty",
    "uncertainty_rapidity",
]

_RELATIVE = r"Relative uncertainty $\sigma\,/\,R$"
_PULL = r"Pull $t = (L_\mathrm{pred} - L_\mathrm{true})\,/\,\sigma$"


def pull() -> Hist[Any]:
    """Return the empty histogram of the pulls: axes kind, pull (400 bins, -20 to 20).

    The range is wide because pulls on the statistical uncertainty alone are: truth differs from the
    prediction by the systematic one as well.
    """
    axis = hist.axis.Regular(400, -20.0, 20.0, name="pull", label=_PULL)
    return histogram(category_axis("kind", KINDS, label="Uncertainty"), axis)


def fill_pull(
    histogram: Hist[Any], *, kind: str, pull: ArrayLike, weight: ArrayLike | None = None
) -> None:
    """Fill the pulls (rows,) on one kind of uncertainty: total, systematic or statistical.

    Raises:
        DataError: if the kind is unknown, or a pull is NaN.
        ShapeError: if the lengths differ.
    """
    fill(histogram, weight, categories={"kind": kind}, values={"pull": pull})


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
