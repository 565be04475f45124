"""The components of a distribution, and how to go through many rows of them in blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.distributions import Categorical, LogNormal, MixtureSameFamily, Normal

from hepcalib.exceptions import ConfigError
from hepcalib.losses.point import Point

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch.distributions import Distribution

__all__ = ["Components", "components", "family", "mixture_of", "rowwise", "single", "tilted"]

BLOCK = 262144  # float64 numbers at a time, so that they stay in the processor's cache


class Components(NamedTuple):
    """ln of the weights, means and standard deviations, each (..., components).

    They are those of ln y for log-normal distributions; points have deviations of zero.
    """

    log_weights: Tensor
    means: Tensor
    deviations: Tensor


def components(distribution: Distribution) -> Components:
    """Return the components of a mixture, or the one of another distribution.

    Raises:
        ConfigError: if they are neither normal nor log-normal nor points.
    """
    part = single(distribution)
    if isinstance(part, Point):
        means, deviations = part.value, torch.zeros_like(part.value)
    else:
        means, deviations = part.loc, part.scale
    if isinstance(distribution, MixtureSameFamily):
        return Components(distribution.mixture_distribution.logits, means, deviations)
    means = means.unsqueeze(-1)
    return Components(torch.zeros_like(means), means, deviations.unsqueeze(-1))


def single(distribution: Distribution) -> Normal | LogNormal | Point:
    """Return the distribution of the components, the distribution itself if it is no mixture.

    Raises:
        ConfigError: if they are neither normal nor log-normal nor points.
    """
    part = family(distribution)
    if isinstance(part, Normal | LogNormal | Point):
        return part
    msg = f"{type(distribution).__name__}; needed: Normal, LogNormal, Point or a mixture of one"
    raise ConfigError(msg)


def family(distribution: Distribution) -> Distribution:
    """Return the distribution of the components, whatever it is, or the distribution itself."""
    if isinstance(distribution, MixtureSameFamily):
        part: Distribution = distribution.component_distribution
        return part
    return distribution


def mixture_of(parts: Components, like: Distribution) -> MixtureSameFamily:
    """Return the mixture of these components, of the family of another distribution."""
    base = single(like)
    component = (
        Point(parts.means, base.loss)
        if isinstance(base, Point)
        else type(base)(parts.means, parts.deviations, validate_args=False)
    )
    return MixtureSameFamily(
        Categorical(logits=parts.log_weights, validate_args=False), component, validate_args=False
    )


def tilted(parts: Components, power: float) -> Components:
    r"""Return the components of the density times an exponential, with weights of another sum.

    .. math:: e^{g x} \alpha N(x; \mu, \sigma^2)
        = \alpha e^{g \mu + g^2 \sigma^2 / 2} N(x; \mu + g \sigma^2, \sigma^2)

    Args:
        parts: Components in x.
        power: g, in the inverse unit of x.
    """
    shift = power * parts.deviations.square()
    weights = parts.log_weights + power * (parts.means + 0.5 * shift)
    return Components(weights, parts.means + shift, parts.deviations)


@torch.no_grad()
def rowwise(function: Callable[..., Tensor], distribution: Distribution, *others: Tensor) -> Tensor:
    """Return function(components, *others) of blocks of rows in float64, in the batch's shape.

    Args:
        function: Takes components (rows, K) and what the others have for these rows; returns
            (rows, ...).
        distribution: Normal, log-normal, points or a mixture of one of them.
        others: Further tensors (*batch shape, ...).
    """
    parts = components(distribution)
    shape, dtype = parts.means.shape, parts.means.dtype
    depth = len(shape) - 1
    flat = [part.reshape(-1, shape[-1]) for part in parts]
    more = [other.reshape(-1, *other.shape[depth:]) for other in others]
    block = BLOCK if parts.means.device.type == "cpu" else 64 * BLOCK
    rows = max(1, block // shape[-1])
    results = [
        function(
            Components(*(part[start : start + rows].double() for part in flat)),
            *(other[start : start + rows].double() for other in more),
        )
        for start in range(0, max(1, len(flat[0])), rows)
    ]
    joined = torch.cat(results)
    return joined.reshape(*shape[:-1], *joined.shape[1:]).to(dtype)
