"""Histograms of the closure: calibrated over true against the truth, method by method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import hist
import numpy as np

from hepcalib.hists.axes import VARIABLES, category_axis, fill, histogram

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hist import Hist
    from numpy.typing import ArrayLike

__all__ = ["closure", "fill_closure", "fill_sampled_spectrum", "sampled_spectra"]

_TRUE = np.geomspace(0.3, 2000.0, 77)  # 12 % wide: so fine that the spectrum can be changed later
_RATIO = np.geomspace(0.05, 20.0, 401)  # 1.5 % wide


def _truth() -> hist.axis.Variable:
    return hist.axis.Variable(
        _TRUE, name="true_energy", label=VARIABLES["true_energy"].label, metadata="log"
    )


def closure(methods: Sequence[str]) -> Hist[Any]:
    """Return the empty histogram of calibrated over true energy.

    Args:
        methods: Names of the calibrations.

    Returns:
        Axes method, true_energy (76 bins 0.3-2000 GeV), closure (400 bins 0.05-20).

    Raises:
        ConfigError: if a method stands twice.
    """
    ratio = hist.axis.Variable(
        _RATIO, name="closure", label=r"$E_\mathrm{cal}\,/\,E_\mathrm{dep}$", metadata="log"
    )
    return histogram(category_axis("method", methods, label="Calibration"), _truth(), ratio)


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
    """Return the empty histogram of test spectra: axes spectrum, true_energy (76 bins).

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
