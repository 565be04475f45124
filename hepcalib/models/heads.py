"""What the last numbers of a network mean: the distribution of the target."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.distributions import Bernoulli, Categorical, MixtureSameFamily, Normal

from hepcalib.exceptions import ConfigError, ShapeError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.distributions import Distribution

__all__ = ["BernoulliHead", "Head", "MixtureHead", "NormalHead"]

LOG_VARIANCE = (-20.0, 11.0)  # in units of scale^2: standard deviations from 4.5e-5 to 245 scales


class Head(nn.Module, ABC):
    """A module without parameters that turns raw outputs into a distribution.

    NaN goes through unchecked, so that a diverging training shows as a loss that is not finite.
    """

    outputs: int

    @property
    def config(self) -> dict[str, Any]:
        """Constructor keywords, as JSON can hold them."""
        return {}

    def forward(self, raw: Tensor) -> Distribution:
        """Return the distribution of the target.

        Args:
            raw: Last outputs of a network, any finite value.

        Shapes:
            raw: (..., outputs) -> batch shape (...)

        Raises:
            ShapeError: if the last dimension is not ``outputs`` wide.
        """
        if raw.shape[-1:] != (self.outputs,):
            msg = (
                f"{type(self).__name__}: raw outputs of shape {tuple(raw.shape)}; "
                f"needed: (..., {self.outputs})"
            )
            raise ShapeError(msg)
        return self.distribution(raw)

    @abstractmethod
    def distribution(self, raw: Tensor) -> Distribution:
        """Return the distribution for raw outputs of the right width."""


class _ScaledHead(Head):
    """A head whose raw outputs describe (y - shift) / scale.

    With mean and standard deviation of the target as shift and scale, an untrained network starts
    near the answer, instead of spending its training on the way there.
    """

    def __init__(self, shift: float = 0.0, scale: float = 1.0) -> None:
        super().__init__()
        if not (math.isfinite(shift) and 0.0 < scale < math.inf):
            msg = f"{type(self).__name__}: shift {shift}, scale {scale}; needed: finite, scale > 0"
            raise ConfigError(msg)
        self.shift = float(shift)
        self.scale = float(scale)

    @property
    def config(self) -> dict[str, Any]:
        """Constructor keywords, as JSON can hold them."""
        return {"shift": self.shift, "scale": self.scale}

    def _normal(self, mean: Tensor, log_variance: Tensor) -> Normal:
        deviation = self.scale * torch.exp(0.5 * log_variance.clamp(*LOG_VARIANCE))
        return Normal(self.shift + self.scale * mean, deviation, validate_args=False)


class NormalHead(_ScaledHead):
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
        return self._normal(*raw.unbind(-1))


class MixtureHead(_ScaledHead):
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

    def __init__(self, components: int = 3, shift: float = 0.0, scale: float = 1.0) -> None:
        super().__init__(shift, scale)
        if components < 1:
            msg = f"MixtureHead: components is {components}; needed: at least 1"
            raise ConfigError(msg)
        self.components = components
        self.outputs = 3 * components

    @property
    def config(self) -> dict[str, Any]:
        """Constructor keywords, as JSON can hold them."""
        return {"components": self.components, **super().config}

    def distribution(self, raw: Tensor) -> MixtureSameFamily:
        """Return the mixture."""
        mean, log_variance, logits = raw.chunk(3, -1)
        return MixtureSameFamily(
            Categorical(logits=logits, validate_args=False),
            self._normal(mean, log_variance),
            validate_args=False,
        )


class BernoulliHead(Head):
    r"""The probability of being signal from its logit.

    .. math:: P(y = 1) = 1 / (1 + e^{-a})
    """

    outputs = 1

    def distribution(self, raw: Tensor) -> Bernoulli:
        """Return the Bernoulli distribution."""
        return Bernoulli(logits=raw.squeeze(-1), validate_args=False)
