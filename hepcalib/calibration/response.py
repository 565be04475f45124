"""The response of a calorimeter: what is regressed, and how it is applied."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from hepcalib.exceptions import ConfigError, DataError, suggestion

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["TARGETS", "calibrated", "log10_response", "sigma_response", "target", "to_response"]

TARGETS = ("log10_response", "log10_truth", "response")

Array = TypeVar("Array", Tensor, "NDArray[Any]")


def target(measured: Array, true: Array, variable: str) -> Array:
    r"""Return the variable whose distribution a model learns.

    .. math:: \text{response: } R = \frac{E_{measured}}{E_{true}}, \quad
        \text{log10\_response: } \log_{10} R, \quad
        \text{log10\_truth: } \log_{10} \frac{E_{true}}{1\,\text{GeV}}

    Reference: arXiv:2412.04370.

    Args:
        measured: Uncalibrated energy or transverse momentum [GeV].
        true: True energy deposit or transverse momentum [GeV].
        variable: One of log10_response, log10_truth, response.

    Shapes:
        measured, true: (...), the same -> (...)

    Raises:
        DataError: if one of the energies is not positive and finite.
        ConfigError: if the variable is unknown.
    """
    _require_known(variable)
    _check(measured, "measured")
    _check(true, "true")
    if variable == "response":
        ratio: Array = measured / true
        return ratio
    return _log10(true if variable == "log10_truth" else measured / true)


def to_response(value: Array, measured: Array, variable: str) -> Array:
    r"""Return the response that a value of the learnt variable stands for.

    .. math:: R = 10^L, \quad R = E_{measured} / 10^z, \quad R

    for L = log10_response, z = log10_truth and R = response. The response falls with z: the
    quantile 1 - p of z leads to its quantile p.

    Args:
        value: What was predicted of the variable.
        measured: Uncalibrated energy or transverse momentum [GeV].
        variable: One of log10_response, log10_truth, response.

    Shapes:
        value, measured: (...), the same -> (...)

    Raises:
        DataError: if a measured energy is not positive and finite.
        ConfigError: if the variable is unknown.
    """
    _require_known(variable)
    _check(measured, "measured")
    if variable == "response":
        return value
    response: Array = 10.0**value if variable == "log10_response" else measured / 10.0**value
    return response


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
    return target(measured, true, "log10_response")


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


def _log10(values: Array) -> Array:
    if isinstance(values, Tensor):
        return torch.log10(values)
    return np.asarray(np.log10(values))


def _require_known(variable: str) -> None:
    if variable not in TARGETS:
        msg = f"unknown target '{variable}'. {suggestion(variable, TARGETS)}"
        raise ConfigError(msg)


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
