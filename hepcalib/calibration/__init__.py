"""What makes a prediction a calibration: locations and uncertainties of a response."""

from __future__ import annotations

from hepcalib.calibration.dijets import Dijets, correlated_dijets, snapped_dijets
from hepcalib.calibration.location import (
    LOCATIONS,
    mean,
    median,
    mode,
    quantile,
    quantiles,
    response_mean,
    response_mode,
)
from hepcalib.calibration.numerical_inversion import NumericalInversion
from hepcalib.calibration.response import (
    TARGETS,
    calibrated,
    log10_response,
    sigma_response,
    target,
    to_response,
)
from hepcalib.calibration.uncertainty import Uncertainty, decompose, pooled, response_deviation

__all__ = [
    "LOCATIONS",
    "TARGETS",
    "Dijets",
    "NumericalInversion",
    "Uncertainty",
    "calibrated",
    "correlated_dijets",
    "decompose",
    "log10_response",
    "mean",
    "median",
    "mode",
    "pooled",
    "quantile",
    "quantiles",
    "response_deviation",
    "response_mean",
    "response_mode",
    "sigma_response",
    "snapped_dijets",
    "target",
    "to_response",
]
