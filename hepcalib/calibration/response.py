"""The response of a calorimeter: what is regressed, and how it is applied."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from hepcalib.exceptions import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["calibrated", "log10_response", "sigma_response"]

Array = TypeVar("Array", Tensor, "NDArray[Any]")


def log10_response(measured: Array, true: Array) -> Array:
    r"""Return the regression target.

    .. math:: L = \log_{10} R, \quad R = E_{measured} / E_{true}

    Reference: arXiv:2412.04370.

    Args:
        measured: Uncalibrated energy or transverse momentum [GeV].
        true: True energy deposit or transverse momentum [GeV].

    Shapes:
        measured, true: (...), the same -> (...)

    Raises:
        DataError: if one of them is not positive and finite.
    """
    _check(measured, "measured")
    _check(true, "true")
    if isinstance(measured, Tensor):
        return torch.log10(measured / true)
    return np.asarray(np.log10(measured / true))


def calibrated(measured: Array, response: Array) -> Array:
    r"""Return the calibrated energy.

    .. math:: E_{cal} = E_{measured} / R

    Args:
        measured: Uncalibrated energy or transverse momentum [GeV].
        response: Predicted response R.

    Raises:
        DataError: if a response is not positive and finite.
    """
    _check(response, "response")
    energy: Array = measured / response
    return energy


def sigma_response(response: Array, sigma_log10: Array) -> Array:
    r"""Return the uncertainty of the response from that of its logarithm.

    .. math:: \sigma_R = \ln 10 \; R \; \sigma_L, \quad \sigma_E / E = \sigma_R / R

    Reference: arXiv:2412.04370.

    Args:
        response: Predicted response R.
        sigma_log10: Standard deviation of log10 R.
    """
    sigma: Array = math.log(10.0) * response * sigma_log10
    return sigma


def _check(values: Tensor | NDArray[Any], name: str) -> None:
    numbers = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    wrong = ~(np.isfinite(numbers) & (numbers > 0))
    if wrong.any():
        first = int(np.flatnonzero(wrong)[0])
        msg = (
            f"{name}: {int(wrong.sum())} values are not positive and finite, the first is "
            f"{numbers.reshape(-1)[first]} in row {first}"
        )
        raise DataError(msg)
