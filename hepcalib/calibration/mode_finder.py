"""Modes of mixtures with many components, for many rows."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.distributions import LogNormal

from hepcalib.calibration.quantile_finder import quantile
from hepcalib.losses.point import Point
from hepcalib.models.components import Components, rowwise, single, tilted

if TYPE_CHECKING:
    from torch.distributions import Distribution

__all__ = ["highest", "mode"]

EXHAUSTIVE = 16  # components up to which the means of all are starts
SIZES = (8, 16, 32, 64, 128, 256, 512)  # of the scans for starts among more components
SPACING = 0.5  # of a scan, in standard deviations of the narrowest component
NEGLIGIBLE = math.log(1e-9)  # ln of a component's height, relative to the highest one
AFTER_SCAN, AFTER_MEANS = 0.9, 0.3  # starts are higher than this part of the highest point
STEPS = 200
TOLERANCE = 1e-8  # of a step; the last Newton step leaves far less


def mode(mixture: Distribution) -> Tensor:
    r"""Return the point of highest density; no gradient.

    From the mean of each component, climb by mean shift

    .. math:: y \leftarrow \frac{\sum_k r_k \mu_k / \sigma_k^2}{\sum_k r_k / \sigma_k^2},
        \quad r_k \propto \alpha_k N(y; \mu_k, \sigma_k^2)

    (by Newton steps where they lead higher), and keep the highest end point. Of more than 16
    components, as the pooled ones of many weight draws, the starts are the high maxima of a scan
    from the lowest to the highest mean in steps of half the smallest width; where that would take
    more than 512 points, all means of high density.

    For log-normal components this is the mode of y, not exp of the mode of ln y. Points of several
    members have no mode: the median is returned.

    Reference: arXiv:2412.04370.

    Args:
        mixture: Normal, log-normal, points or a mixture of one of them.

    Shapes:
        batch shape (...) -> (...)

    Raises:
        ConfigError: if the distribution is something else.
    """
    part = single(mixture)
    if isinstance(part, Point):
        return quantile(mixture, 0.5)
    return highest(mixture, power=-1.0).exp() if isinstance(part, LogNormal) else highest(mixture)


def highest(mixture: Distribution, *, power: float = 0.0) -> Tensor:
    """Return the point x where the density of the components times exp(power x) is highest."""
    return rowwise(partial(_mode, power=power), mixture)


def _mode(parts: Components, *, power: float) -> Tensor:
    parts = tilted(parts, power) if power else parts
    rows, starts = _starts(parts)
    ends, heights = _climb(Components(*(part[rows] for part in parts)), starts)
    top = heights.new_full((len(parts.means),), -math.inf)
    top = top.scatter_reduce(0, rows, heights, "amax", include_self=True)
    first = torch.where(heights == top[rows], ends, math.inf)
    x = torch.full_like(top, math.inf).scatter_reduce(0, rows, first, "amin")
    return torch.where(x.isfinite(), x, math.nan)


def _starts(parts: Components) -> tuple[Tensor, Tensor]:
    """Return the points to climb from and the rows they belong to, both (points,)."""
    count, size = parts.means.shape
    index = torch.arange(count, device=parts.means.device)
    if size <= EXHAUSTIVE:
        return index.repeat_interleave(size), parts.means.flatten()
    height = parts.log_weights - parts.deviations.log()
    matters = height >= height.amax(-1, keepdim=True) + NEGLIGIBLE
    low = torch.where(matters, parts.means, math.inf).amin(-1)
    high = torch.where(matters, parts.means, -math.inf).amax(-1)
    narrowest = torch.where(matters, parts.deviations, math.inf).amin(-1)
    needed = 1.0 + (high - low) / (SPACING * narrowest)
    rows, starts, done = [index[:0]], [low[:0]], 0.0
    for points in (*SIZES, math.inf):
        chosen = index[(needed > done) & (needed <= points)]
        done = points
        if len(chosen):
            some = Components(*(part[chosen] for part in parts))
            which, x = (
                _of_means(some)
                if points == math.inf
                else _of_scan(some, low[chosen], high[chosen], points=int(points))
            )
            rows.append(chosen[which])
            starts.append(x)
    return torch.cat(rows), torch.cat(starts)


def _of_means(parts: Components) -> tuple[Tensor, Tensor]:
    """Return the means of high density, after the rows they are in."""
    height = _heights(parts, parts.means)
    chosen = height >= AFTER_MEANS * height.amax(-1, keepdim=True)
    rows, columns = chosen.nonzero().unbind(1)
    return rows, parts.means[rows, columns]


def _of_scan(parts: Components, low: Tensor, high: Tensor, *, points: int) -> tuple[Tensor, Tensor]:
    """Return the high maxima among points from low to high, after the rows they are in."""
    fractions = torch.linspace(0.0, 1.0, points, dtype=low.dtype, device=low.device)
    x = torch.lerp(low.unsqueeze(-1), high.unsqueeze(-1), fractions)
    height = _heights(parts, x)
    beside = torch.nn.functional.pad(height, (1, 1), value=-1.0)
    chosen = (height >= beside[:, :-2]) & (height >= beside[:, 2:])
    chosen &= height >= AFTER_SCAN * height.amax(-1, keepdim=True)
    rows, columns = chosen.nonzero().unbind(1)
    return rows, x[rows, columns]


def _heights(parts: Components, x: Tensor) -> Tensor:
    """Return the densities at x (rows, points), each row in a unit of its own."""
    log_weights, means, deviations = (value.float() for value in parts)
    inverse, scale = 0.5**0.5 / deviations, log_weights - deviations.log()
    scale = (scale - scale.amax(-1, keepdim=True)).exp()
    means = means * inverse
    heights = []
    for point in x.float().unsqueeze(-1).unbind(1):
        pull = torch.addcmul(means, inverse, point, value=-1.0)
        heights.append(pull.square_().neg_().exp_().mul_(scale).sum(-1))
    return torch.stack(heights, -1)


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
