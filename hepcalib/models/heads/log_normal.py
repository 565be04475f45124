"""Log-normal distributions of a target that is positive, and mixtures of them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch.distributions import LogNormal

from hepcalib.exceptions import ConfigError
from hepcalib.models.heads.head import ScaledHead, ScaledMixtureHead

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["LogNormalHead", "LogNormalMixtureHead"]

# Of ln y: beyond them mean and variance of y would overflow in single precision.
MEAN = (-12.0, 12.0)
LOG_VARIANCE = (-20.0, 2.0)


class LogNormalHead(ScaledHead):
    r"""A log-normal distribution of the target itself, from (mu, ln sigma^2).

    .. math:: p(y) = \frac{1}{y} N(\ln y; b + c \mu, c^2 \sigma^2), \quad
        c^2 = \ln(1 + scale^2 / shift^2), \quad b = \ln shift - c^2 / 2

    so that raw outputs of zero have ``shift`` as mean and ``scale`` as standard deviation. The
    density is that of y: for the response R it differs from that of log10 R by R ln 10. The mean of
    ln y is kept in [-12, 12], ln of its variance in [-20, 2]. Reference: arXiv:2412.04370.

    Args:
        shift: The mean of the target, such as the response, in its unit.
        scale: The standard deviation of the target, in its unit.

    Raises:
        ConfigError: if shift or scale is not positive and finite.
    """

    outputs = 2

    def __init__(self, shift: float = 1.0, scale: float = 1.0) -> None:
        super().__init__(shift, scale)
        _require_positive(self)

    def distribution(self, raw: Tensor) -> LogNormal:
        """Return the log-normal distribution."""
        return _log_normal(self, *raw.unbind(-1))


class LogNormalMixtureHead(ScaledMixtureHead):
    r"""A mixture of log-normal distributions of the target, from (mu_k, ln sigma_k^2, logits_k).

    .. math:: p(y) = \frac{1}{y} \sum_k \alpha_k N(\ln y; b + c \mu_k, c^2 \sigma_k^2), \quad
        \alpha = softmax(logits)

    with b, c and the limits of ``LogNormalHead``. Reference: arXiv:2412.04370.

    Args:
        components: Number K of components.
        shift: The mean of the target, such as the response, in its unit.
        scale: The standard deviation of the target, in its unit.

    Raises:
        ConfigError: if there is not at least one component, or shift or scale is not positive and
            finite.
    """

    def __init__(self, components: int = 3, shift: float = 1.0, scale: float = 1.0) -> None:
        super().__init__(components, shift, scale)
        _require_positive(self)

    def component(self, mean: Tensor, log_variance: Tensor) -> LogNormal:
        """Return the log-normal distributions, (..., components)."""
        return _log_normal(self, mean, log_variance)


def _log_normal(head: ScaledHead, mean: Tensor, log_variance: Tensor) -> LogNormal:
    variance = math.log1p((head.scale / head.shift) ** 2)
    centre = math.log(head.shift) - 0.5 * variance
    location = (centre + math.sqrt(variance) * mean).clamp(*MEAN)
    deviation = torch.exp(0.5 * (log_variance + math.log(variance)).clamp(*LOG_VARIANCE))
    return LogNormal(location, deviation, validate_args=False)


def _require_positive(head: ScaledHead) -> None:
    if head.shift <= 0:
        msg = f"{type(head).__name__}: shift {head.shift}; needed: > 0, as the target is positive"
        raise ConfigError(msg)
