"""Which point of a predicted distribution is the prediction: its mean, median or mode."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import torch

from hepcalib.calibration.components import Components, components, rowwise
from hepcalib.exceptions import ConfigError

if TYPE_CHECKING:
    from torch import Tensor
    from torch.distributions import Distribution

__all__ = ["LOCATIONS", "mean", "median", "mode", "quantile"]

LOCATIONS = ("mean", "median", "mode")

EXHAUSTIVE = 16  # components up to which all of them are starts of the search for the mode
STARTS = 6  # if there are more components
STEPS = 200  # more than any mixture needs: bisection halves 40 times from 1 to 1e-12
TOLERANCE = 1e-8  # of a step; the last Newton step leaves far less


def mean(mixture: Distribution) -> Tensor:
    r"""Return the expectation.

    .. math:: \langle y \rangle = \sum_k \alpha_k \mu_k

    Args:
        mixture: Normal distribution or mixture of them.

    Shapes:
        batch shape (...) -> (...)

    Raises:
        ConfigError: if the distribution is something else.
    """
    parts = components(mixture)
    return (parts.log_weights.exp() * parts.means).sum(-1)


def median(mixture: Distribution) -> Tensor:
    """Return the median, to 1e-6 or the accuracy of the dtype; like ``quantile`` for 0.5."""
    return quantile(mixture, 0.5)


def quantile(mixture: Distribution, probability: float) -> Tensor:
    r"""Return the point below which a fraction of the distribution lies, to 1e-6; no gradient.

    .. math:: \sum_k \alpha_k \Phi((y_p - \mu_k) / \sigma_k) = p

    Newton steps inside a bracket: y_p lies between the quantiles of the single components.

    Args:
        mixture: Normal distribution or mixture of them.
        probability: The fraction p, between 0 and 1.

    Shapes:
        batch shape (...) -> (...)

    Raises:
        ConfigError: if p is not between 0 and 1, or the distribution is something else.
    """
    if not 0.0 < probability < 1.0:
        msg = f"quantile: probability is {probability}; needed: above 0 and below 1"
        raise ConfigError(msg)
    return rowwise(partial(_quantile, probability=probability), mixture)


def mode(mixture: Distribution) -> Tensor:
    r"""Return the point of highest density; no gradient.

    From the mean of each component, climb by mean shift

    .. math:: y \leftarrow \frac{\sum_k r_k \mu_k / \sigma_k^2}{\sum_k r_k / \sigma_k^2},
        \quad r_k \propto \alpha_k N(y; \mu_k, \sigma_k^2)

    (by Newton steps where they lead higher), and keep the highest end point. Of more than 16
    components, as the pooled ones of many weight draws, 6 serve as starts: first those at whose
    mean the density is higher than at the two neighbouring means, then the others, by that density.

    Reference: arXiv:2412.04370.

    Args:
        mixture: Normal distribution or mixture of them.

    Shapes:
        batch shape (...) -> (...)

    Raises:
        ConfigError: if the distribution is something else.
    """
    return rowwise(_mode, mixture)


def _quantile(parts: Components, *, probability: float) -> Tensor:
    """Newton steps for the rows that still move; bisection where they leave the bracket."""
    z = torch.special.ndtri(parts.means.new_tensor(probability))
    ends, weights = parts.means + parts.deviations * z, parts.log_weights.exp()
    low, high = ends.amin(-1), ends.amax(-1)
    x, step = (weights * ends).sum(-1), high - low
    active = torch.arange(len(x), device=x.device)
    result: Tensor = x.clone()
    means, inverse = parts.means, (0.5**0.5) / parts.deviations
    for _ in range(STEPS):
        pull = (x.unsqueeze(-1) - means) * inverse
        excess = 0.5 + 0.5 * (weights * pull.erf()).sum(-1) - probability
        density = (weights * inverse * pull.square().neg().exp()).sum(-1) / math.sqrt(math.pi)
        low, high = torch.where(excess < 0, x, low), torch.where(excess > 0, x, high)
        newton = x - excess / density
        good = (newton >= low) & (newton <= high) & ((newton - x).abs() <= 0.5 * step)
        after = torch.where(good, newton, 0.5 * (low + high))
        step, result[active] = (after - x).abs(), after
        on = (step > TOLERANCE).nonzero().squeeze(1)
        if not len(on):
            break
        active, x, step, low, high = (value[on] for value in (active, after, step, low, high))
        weights, means, inverse = weights[on], means[on], inverse[on]
    return result


def _mode(parts: Components) -> Tensor:
    mask = _starts(parts)
    rows = mask.nonzero()[:, 0]
    ends, heights = parts.means.clone(), torch.full_like(parts.means, -math.inf)
    ends[mask], heights[mask] = _climb(Components(*(part[rows] for part in parts)), ends[mask])
    highest, which = heights.max(-1)
    x: Tensor = ends.gather(-1, which.unsqueeze(-1)).squeeze(-1)
    return torch.where(highest.isfinite(), x, math.nan)


def _starts(parts: Components) -> Tensor:
    """Return the components to climb from the means of, a mask (rows, components)."""
    if parts.means.shape[-1] <= EXHAUSTIVE:
        return torch.ones_like(parts.means, dtype=torch.bool)
    order = parts.means.argsort(-1)
    log_weights, means, deviations = (part.gather(-1, order).float() for part in parts)
    scale = log_weights - deviations.log()
    scale, inverse = (scale - scale.amax(-1, keepdim=True)).exp(), 0.5**0.5 / deviations
    height = torch.stack(
        [
            (scale * ((means - point.unsqueeze(-1)) * inverse).square().neg().exp()).sum(-1)
            for point in means.unbind(-1)
        ],
        -1,
    )
    beside = torch.nn.functional.pad(height, (1, 1), value=-1.0)
    peak = (height >= beside[:, :-2]) & (height >= beside[:, 2:])
    rank = height + peak * (1.0 + height.amax(-1, keepdim=True))
    chosen = order.gather(-1, rank.topk(STARTS, -1).indices)
    starts: Tensor = torch.zeros_like(peak).scatter(-1, chosen, value=True)
    return starts


def _climb(parts: Components, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the maxima above the points x, and ln of the density there; all (points,)."""
    result, fallback, height = x.clone(), x.clone(), torch.full_like(x, -math.inf)
    active = torch.arange(len(x), device=x.device)
    for _ in range(STEPS):
        point = _evaluate(parts, x)
        improved = point.log_density >= height[active] - 1e-12
        up = active[improved]
        result[up], height[up] = x[improved], point.log_density[improved]
        fallback[up] = point.shifted[improved]
        after = torch.where(improved, point.newton, fallback[active])
        moved = (after - x).abs() > TOLERANCE * point.width
        active, x, parts = active[moved], after[moved], Components(*(part[moved] for part in parts))
        if not len(active):
            break
    return result, height


class _Point(NamedTuple):
    log_density: Tensor
    shifted: Tensor  # where mean shift leads, never to a lower density
    newton: Tensor  # where a Newton step leads, if that is a step towards a maximum nearby
    width: Tensor  # standard deviation of the components that matter here


def _evaluate(parts: Components, x: Tensor) -> _Point:
    inverse = parts.deviations.reciprocal()
    pull = (x.unsqueeze(-1) - parts.means) * inverse
    exponent = parts.log_weights - parts.deviations.log() - 0.5 * pull.square()
    top = exponent.amax(-1, keepdim=True)
    share = (exponent - top).exp()
    total = share.sum(-1)
    share = share * inverse.square() / total.unsqueeze(-1)
    precision = share.sum(-1)
    slope = -(share * pull * parts.deviations).sum(-1)
    curvature = (share * pull.square()).sum(-1) - precision - slope.square()
    width, newton, shifted = precision.rsqrt(), -slope / curvature, x + slope / precision
    near = (curvature < 0) & (newton.abs() <= width)
    return _Point(
        log_density=top.squeeze(-1) + total.log(),
        shifted=shifted,
        newton=torch.where(near, x + newton, shifted),
        width=width,
    )
