"""The normal components of a distribution, and how to go through many rows of them in blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.distributions import MixtureSameFamily, Normal

from hepcalib.exceptions import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch.distributions import Distribution

__all__ = ["Components", "components", "rowwise"]

BLOCK = 32768  # float64 numbers at a time, so that they stay in the processor's cache


class Components(NamedTuple):
    """ln of the weights, means and standard deviations, each (..., components)."""

    log_weights: Tensor
    means: Tensor
    deviations: Tensor


def components(distribution: Distribution) -> Components:
    """Return the components of a normal distribution (one) or of a mixture of them.

    Raises:
        ConfigError: if the distribution is something else.
    """
    if isinstance(distribution, Normal):
        mean, deviation = distribution.loc.unsqueeze(-1), distribution.scale.unsqueeze(-1)
        return Components(torch.zeros_like(mean), mean, deviation)
    if isinstance(distribution, MixtureSameFamily):
        normal = distribution.component_distribution
        if isinstance(normal, Normal):
            weights = distribution.mixture_distribution.logits
            return Components(weights.log_softmax(-1), normal.loc, normal.scale)
    msg = f"{type(distribution).__name__}; needed: Normal or a mixture of Normal"
    raise ConfigError(msg)


@torch.no_grad()
def rowwise(function: Callable[[Components], Tensor], distribution: Distribution) -> Tensor:
    """Return function(components) of blocks of rows in float64, in the shape of the batch.

    Args:
        function: Takes components (rows, K), returns (rows,).
        distribution: Normal or a mixture of Normal.
    """
    parts = components(distribution)
    shape, dtype = parts.means.shape, parts.means.dtype
    flat = [part.reshape(-1, shape[-1]) for part in parts]
    block = BLOCK if parts.means.device.type == "cpu" else 64 * BLOCK
    rows = max(1, block // shape[-1])
    results = [
        function(Components(*(part[start : start + rows].double() for part in flat)))
        for start in range(0, max(1, len(flat[0])), rows)
    ]
    return torch.cat(results).reshape(shape[:-1]).to(dtype)
