"""What all heads have in common: raw outputs of a network in, a distribution of the target out."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from torch import nn
from torch.distributions import Categorical, MixtureSameFamily

from hepcalib.exceptions import ConfigError, ShapeError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.distributions import Distribution

__all__ = ["Head", "ScaledHead", "ScaledMixtureHead"]


class Head(nn.Module, ABC):
    """A module without parameters that turns raw outputs into a distribution.

    NaN goes through unchecked, so that a diverging training shows as a loss that is not finite.
    """

    outputs: int
    steps: int = 0  # calls in training mode, counted by a head whose loss depends on them

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


class ScaledHead(Head):
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


class ScaledMixtureHead(ScaledHead):
    """A mixture of ``components`` distributions of one family, from (mu_k, ln sigma_k^2, logits_k).

    Raises:
        ConfigError: if there is not at least one component, or as for ``ScaledHead``.
    """

    def __init__(self, components: int = 3, shift: float = 0.0, scale: float = 1.0) -> None:
        super().__init__(shift, scale)
        if components < 1:
            msg = f"{type(self).__name__}: components is {components}; needed: at least 1"
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
            self.component(mean, log_variance),
            validate_args=False,
        )

    @abstractmethod
    def component(self, mean: Tensor, log_variance: Tensor) -> Distribution:
        """Return the distributions of the components, (..., components) each."""
