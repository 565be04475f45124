"""The normal distributions that a predicted distribution is made of."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.distributions import LogNormal, Normal

from hepcalib.exceptions import ConfigError
from hepcalib.models.components import Components, components, family

if TYPE_CHECKING:
    from torch.distributions import Distribution

__all__ = ["NormalParts", "normal_parts"]


class NormalParts(NamedTuple):
    """A mixture of normal distributions of the target or of its logarithm, in double precision."""

    weights: Tensor  # (..., components), of sum one
    means: Tensor  # (..., components)
    deviations: Tensor  # (..., components)
    logarithmic: bool

    def density(self, values: Tensor) -> Tensor:
        """Return the density of the target or its logarithm, (nodes, ...) -> (nodes, ...)."""
        pull = (values.unsqueeze(-1) - self.means) / self.deviations
        normal = (-0.5 * pull.square()).exp() / (math.sqrt(2.0 * math.pi) * self.deviations)
        return (self.weights * normal).sum(-1)

    def tails(self, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return the probabilities to be below and above the target, (...) each."""
        values = target.double().log() if self.logarithmic else target.double()
        pull = (values.unsqueeze(-1) - self.means) / self.deviations
        below, above = (torch.special.ndtr(sign * pull) for sign in (1.0, -1.0))
        return (self.weights * below).sum(-1), (self.weights * above).sum(-1)


def normal_parts(distribution: Distribution, *, where: str) -> NormalParts:
    """Return the parts of a normal or log-normal distribution or of a mixture of such.

    Raises:
        ConfigError: if the distribution is something else.
    """
    base = family(distribution)
    if not isinstance(base, Normal | LogNormal):
        msg = (
            f"{where}: the model predicts {type(base).__name__}; needed: Normal, LogNormal or a "
            "mixture of one of them"
        )
        raise ConfigError(msg)
    parts = Components(*(part.double() for part in components(distribution)))
    weights = parts.log_weights.softmax(-1)
    return NormalParts(weights, parts.means, parts.deviations, isinstance(base, LogNormal))
