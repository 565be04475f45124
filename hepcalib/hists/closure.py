"""Histograms of the closure: calibrated over true against the truth, method by method."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import hist
import numpy as np

from hepcalib.hists.axes import VARIABLES, Floats, category_axis, fill, histogram

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hist import Hist
    from numpy.typing import ArrayLike

__all__ = ["FACTOR", "closure", "fill_closure", "fill_sampled_spectrum", "sampled_spectra"]

FACTOR = 20.0
"""A calibrated value further from the truth than this factor, either way, has run away."""

_FINE = 0.12  # relative width of the bins of the truth: so fine that the spectrum can be changed
_RATIO_BINS = 400  # within the factor, 1.5 % wide
_LOWEST, _HIGHEST = 1e-6, 1e12  # of what has run away, in bins 12 % wide


def _truth() -> hist.axis.Variable:
    """Return bins of the truth that divide those that results are shown in."""
    shown = VARIABLES["true_energy"].edges
    fine = [_divided(low, high, _FINE) for low, high in itertools.pairwise(shown)]
    return hist.axis.Variable(
        np.concatenate([*fine, shown[-1:]]),
        name="true_energy",
        label=VARIABLES["true_energy"].label,
        metadata="log",
    )


def _divided(low: float, high: float, width: float) -> Floats:
    """Return the lower edges of bins of equal ratio, at most this relative width."""
    bins = math.ceil(math.log(high / low) / math.log1p(width))
    return np.geomspace(low, high, bins + 1)[:-1]


def _ratio() -> hist.axis.Variable:
    parts = (
        _divided(_LOWEST, 1.0 / FACTOR, _FINE),
        np.geomspace(1.0 / FACTOR, FACTOR, _RATIO_BINS + 1)[:-1],
        _divided(FACTOR, _HIGHEST, _FINE),
        np.array([_HIGHEST]),
    )
    return hist.axis.Variable(
        np.concatenate(parts),
        name="closure",
        label=r"$E_\mathrm{cal}\,/\,E_\mathrm{dep}$",
        metadata="log",
    )


def closure(methods: Sequence[str]) -> Hist[Any]:
    """Return the empty histogram of calibrated over true energy.

    Args:
        methods: Names of the calibrations.

    Returns:
        Axes method, true_energy (0.3-2000 GeV, at most 12 % wide, with the edges of
        `VARIABLES["true_energy"]` among theirs), closure (1.5 % wide within a factor 20, 12 % wide
        beyond it, 1e-6 to 1e12).

    Raises:
        ConfigError: if a method stands twice.
    """
    return histogram(category_axis("method", methods, label="Calibration"), _truth(), _ratio())


def fill_closure(
    histogram: Hist[Any],
    *,
    method: str,
    true: ArrayLike,
    calibrated: ArrayLike,
    weight: ArrayLike | None = None,
) -> None:
    """Fill the true and calibrated energies [GeV] (rows,) of one method.

    Raises:
        DataError: if the method is unknown, or a value is NaN.
        ShapeError: if the lengths differ.
    """
    truth = np.asarray(true, dtype=np.float64)
    columns = {"true_energy": truth, "closure": np.asarray(calibrated) / truth}
    fill(histogram, weight, categories={"method": method}, values=columns)


def sampled_spectra(names: Sequence[str]) -> Hist[Any]:
    """Return the empty histogram of test spectra: axes spectrum, true_energy.

    Only "nominal" is filled; the others are what it is to be reweighted to.

    Raises:
        ConfigError: if a spectrum stands twice.
    """
    return histogram(category_axis("spectrum", names, label="Test spectrum"), _truth())


def fill_sampled_spectrum(
    histogram: Hist[Any], true: ArrayLike, *, weight: ArrayLike | None = None
) -> None:
    """Fill the true energies [GeV] (rows,) of the nominal spectrum.

    Raises:
        DataError: if a value is NaN.
        ShapeError: if the lengths differ.
    """
    fill(histogram, weight, categories={"spectrum": "nominal"}, values={"true_energy": true})
