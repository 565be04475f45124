"""What makes a prediction a calibration: locations and uncertainties of a response."""

from __future__ import annotations

from hepcalib.calibration.location import LOCATIONS, mean, median, mode, quantile
from hepcalib.calibration.response import calibrated, log10_response, sigma_response
from hepcalib.calibration.uncertainty import Uncertainty, decompose, pooled

__all__ = [
    "LOCATIONS",
    "Uncertainty",
    "calibrated",
    "decompose",
    "log10_response",
    "mean",
    "median",
    "mode",
    "pooled",
    "quantile",
    "sigma_response",
]
