"""Which point of a predicted distribution is the prediction: mean, median or mode of what."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch.distributions import LogNormal

from hepcalib.calibration.mode_finder import highest, mode
from hepcalib.calibration.quantile_finder import quantile, quantiles
from hepcalib.exceptions import ConfigError
from hepcalib.losses.point import Point
from hepcalib.models.components import components, single

if TYPE_CHECKING:
    from torch import Tensor
    from torch.distributions import Distribution

__all__ = [
    "LOCATIONS",
    "mean",
    "median",
    "mode",
    "quantile",
    "quantiles",
    "response_mean",
    "response_mode",
]

LOCATIONS = ("mean", "median", "mode", "response_mean", "response_mode")

LN_10 = math.log(10.0)


def mean(mixture: Distribution) -> Tensor:
    r"""Return the expectation.

    .. math:: \langle y \rangle = \sum_k \alpha_k \mu_k, \quad \text{log-normal: }
        \sum_k \alpha_k e^{\mu_k + \sigma_k^2 / 2}

    Args:
        mixture: Normal, log-normal, points or a mixture of one of them.

    Shapes:
        batch shape (...) -> (...)

    Raises:
        ConfigError: if the distribution is something else.
    """
    parts, values = components(mixture), components(mixture).means
    if isinstance(single(mixture), LogNormal):
        values = (parts.means + 0.5 * parts.deviations.square()).exp()
    return (parts.log_weights.exp() * values).sum(-1)


def median(mixture: Distribution) -> Tensor:
    """Return the median, to 1e-6 or the accuracy of the dtype; like ``quantile`` for 0.5."""
    return quantile(mixture, 0.5)


def response_mean(mixture: Distribution) -> Tensor:
    r"""Return log10 of the mean response of a distribution of log10 R.

    .. math:: \log_{10} \langle R \rangle
        = \log_{10} \sum_k \alpha_k 10^{\mu_k + \ln 10 \, \sigma_k^2 / 2}

    Reference: arXiv:2412.04370.

    Args:
        mixture: Normal distribution of log10 R, points or a mixture of one of them.

    Shapes:
        batch shape (...) -> (...)

    Raises:
        ConfigError: if the distribution is something else.
    """
    _require_logarithm(mixture, "response_mean")
    parts = components(mixture)
    exponent = LN_10 * parts.means + 0.5 * (LN_10 * parts.deviations).square()
    return torch.logsumexp(parts.log_weights + exponent, -1) / LN_10


def response_mode(mixture: Distribution) -> Tensor:
    r"""Return log10 of the most probable response of a distribution of log10 R; no gradient.

    .. math:: \log_{10} \operatorname{argmax}_R p(R), \quad p(R) \propto 10^{-L} p(L), \quad
        L = \log_{10} R

    This is the mode of the mixture of means mu_k - ln 10 sigma_k^2 and weights
    alpha_k 10^(-mu_k + ln 10 sigma_k^2 / 2). Points are like for ``mode``.

    Reference: arXiv:2412.04370.

    Args:
        mixture: Normal distribution of log10 R, points or a mixture of one of them.

    Shapes:
        batch shape (...) -> (...)

    Raises:
        ConfigError: if the distribution is something else.
    """
    _require_logarithm(mixture, "response_mode")
    return mode(mixture) if isinstance(single(mixture), Point) else highest(mixture, power=-LN_10)


def _require_logarithm(mixture: Distribution, what: str) -> None:
    if isinstance(single(mixture), LogNormal):
        msg = f"{what}: a distribution of R, LogNormal; needed: one of log10 R, Normal or Point"
        raise ConfigError(msg)
