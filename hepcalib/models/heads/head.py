"""What all heads have in common: raw outputs of a network in, a distribution of the target out."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from torch import nn

from hepcalib.exceptions import ConfigError, ShapeError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.distributions import Distribution

__all__ = ["Head", "ScaledHead"]


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
