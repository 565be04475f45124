"""Normal distributions of the target, and mixtures of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.distributions import Normal

from hepcalib.models.heads.head import ScaledHead, ScaledMixtureHead

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["MixtureHead", "NormalHead"]

LOG_VARIANCE = (-20.0, 11.0)  # in units of scale^2: standard deviations from 4.5e-5 to 245 scales


class NormalHead(ScaledHead):
    r"""A normal distribution from (mu, ln sigma^2).

    .. math:: p(y) = N(y; b + c \mu, c^2 \sigma^2)

    ln sigma^2 is kept in [-20, 11]. Reference: arXiv:2412.04370.

    Args:
        shift: The mean b of the target, in its unit.
        scale: The standard deviation c of the target, in its unit.

    Raises:
        ConfigError: if shift or scale is not finite, or scale not positive.
    """

    outputs = 2

    def distribution(self, raw: Tensor) -> Normal:
        """Return the normal distribution."""
        return _normal(self, *raw.unbind(-1))


class MixtureHead(ScaledMixtureHead):
    r"""A mixture of normal distributions from (mu_k, ln sigma_k^2, logits_k).

    .. math:: p(y) = \sum_k \alpha_k N(y; b + c \mu_k, c^2 \sigma_k^2), \quad
        \alpha = softmax(logits)

    Every ln sigma_k^2 is kept in [-20, 11]. With log10 R as target this is the mixture of
    log-normal distributions in R. Reference: arXiv:2412.04370.

    Args:
        components: Number K of components.
        shift: The mean b of the target, in its unit.
        scale: The standard deviation c of the target, in its unit.

    Raises:
        ConfigError: if there is not at least one component, shift or scale is not finite, or scale
            not positive.
    """

    def component(self, mean: Tensor, log_variance: Tensor) -> Normal:
        """Return the normal distributions, (..., components)."""
        return _normal(self, mean, log_variance)


def _normal(head: ScaledHead, mean: Tensor, log_variance: Tensor) -> Normal:
    deviation = head.scale * torch.exp(0.5 * log_variance.clamp(*LOG_VARIANCE))
    return Normal(head.shift + head.scale * mean, deviation, validate_args=False)
