"""Quantiles of mixtures with many components, for many rows."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.distributions import LogNormal

from hepcalib.exceptions import ConfigError, ShapeError
from hepcalib.losses.point import Point
from hepcalib.models.components import Components, components, rowwise, single

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch.distributions import Distribution

__all__ = ["quantile", "quantiles"]

FEW = 15  # components with which the steps begin: those of five members with three each
ROUGH_FEW, ROUGH_ALL = 5, 1  # rough steps with few of many components, then with all
STEPS = 200  # more than any mixture needs: bisection halves 40 times from 1 to 1e-12
TOLERANCE = 1e-7  # of the result

# Phi(t) is about 1 / (1 + exp(-t (LINEAR + CUBIC t^2))), to 1.5e-4
LINEAR, CUBIC = 1.5976, 0.070566


def quantile(mixture: Distribution, probability: float | Tensor) -> Tensor:
    r"""Return the point below which a fraction of the distribution lies, to 1e-6; no gradient.

    .. math:: \sum_k \alpha_k \Phi((y_p - \mu_k) / \sigma_k) = p

    Args:
        mixture: Normal, log-normal, points or a mixture of one of them.
        probability: The fraction p, between 0 and 1; one for all rows or of a shape that broadcasts
            with the batch shape.

    Shapes:
        batch shape (...) -> (...)

    Raises:
        ConfigError: if p is not between 0 and 1, or the distribution is something else.
        ShapeError: if p does not broadcast.
    """
    return quantiles(mixture, [probability])[0]


def quantiles(mixture: Distribution, probabilities: Sequence[float | Tensor]) -> Tensor:
    r"""Return several quantiles, in less time than one after the other; no gradient.

    .. math:: \sum_k \alpha_k \Phi((y_p - \mu_k) / \sigma_k) = p

    y_p lies between the quantiles of the single components. Inside this bracket, steps with an
    approximate distribution function in single precision, then, until the result is certain, such
    of third order with the exact one. M points of equal weight, those of M members, count as
    quantiles of probabilities 0, 1 / (M - 1), ... 1, with straight lines between.

    Args:
        mixture: Normal, log-normal, points or a mixture of one of them.
        probabilities: Fractions, as for ``quantile``.

    Shapes:
        batch shape (...) -> (probabilities, ...)

    Raises:
        ConfigError: if a fraction is not between 0 and 1, or the distribution is something else.
        ShapeError: if a fraction does not broadcast with the batch shape.
    """
    part = single(mixture)
    wanted = torch.stack([_checked(value, mixture) for value in probabilities], -1)
    function = _between_points if isinstance(part, Point) else _quantiles
    found = rowwise(function, mixture, wanted).movedim(-1, 0)
    return found.exp() if isinstance(part, LogNormal) else found


def _checked(probability: float | Tensor, mixture: Distribution) -> Tensor:
    """Return the fractions in float64 and in the batch shape."""
    means = components(mixture).means
    values = torch.as_tensor(probability, dtype=torch.float64, device=means.device)
    wrong = ~((values > 0.0) & (values < 1.0))
    if wrong.any():
        msg = f"quantile: probability is {values[wrong][0].item()}; needed: above 0 and below 1"
        raise ConfigError(msg)
    shape = means.shape[:-1]
    try:
        return values.expand(shape)
    except RuntimeError as error:
        msg = (
            f"quantile: probability of shape {tuple(values.shape)}; the distribution has batch "
            f"shape {tuple(shape)}"
        )
        raise ShapeError(msg) from error


def _between_points(parts: Components, wanted: Tensor) -> Tensor:
    points, last = parts.means.sort(-1).values, parts.means.shape[-1] - 1
    position = wanted * last
    below = position.floor().long().clamp(max=max(last - 1, 0))
    low, high = points.gather(-1, below), points.gather(-1, (below + 1).clamp(max=last))
    return low + (position - below) * (high - low)


class _Normals(NamedTuple):
    """Components as the steps need them, each (rows, K)."""

    weights: Tensor
    means: Tensor
    inverse: Tensor  # of the standard deviations

    def where(self, rows: Tensor) -> _Normals:
        return _Normals(*(part[rows] for part in self))


def _quantiles(parts: Components, wanted: Tensor) -> Tensor:
    normals = _Normals(parts.log_weights.exp(), parts.means, parts.deviations.reciprocal())
    rough = _Normals(*(part.float() for part in normals))
    few = _Normals(*(part[:, :FEW] for part in rough))
    few = few._replace(weights=few.weights / few.weights.sum(-1, keepdim=True))
    sharpest = normals.inverse.amax(-1)
    results = []
    for probability in wanted.unbind(-1):
        ends = parts.means + parts.deviations * torch.special.ndtri(probability).unsqueeze(-1)
        low, high = ends.amin(-1), ends.amax(-1)
        p, bracket = probability.float(), (low.float(), high.float())
        first = ends[:, :FEW].float()
        x = (few.weights * first).sum(-1)
        x = _approached(few, p, x, (first.amin(-1), first.amax(-1)), steps=ROUGH_FEW)
        if parts.means.shape[-1] > FEW:
            x = _approached(rough, p, x.clamp(*bracket), bracket, steps=ROUGH_ALL)
        start = x.double().clamp(low, high)
        results.append(_solved(normals, probability, start, (low, high), sharpest))
    return torch.stack(results, -1)


def _approached(
    normals: _Normals, probability: Tensor, x: Tensor, bracket: tuple[Tensor, Tensor], *, steps: int
) -> Tensor:
    """Take Newton steps with the approximate distribution function."""
    low, high = bracket
    scaled = normals.weights * normals.inverse
    for _ in range(steps):
        pull = (x.unsqueeze(-1) - normals.means) * normals.inverse
        square = pull.square()
        below = torch.sigmoid(pull * torch.add(LINEAR, square, alpha=CUBIC))
        excess = (normals.weights * below).sum(-1) - probability
        slope = below.sub_(below.square()).mul_(square.mul_(3 * CUBIC).add_(LINEAR))
        density = (scaled * slope).sum(-1)
        low, high = torch.where(excess < 0, x, low), torch.where(excess > 0, x, high)
        newton = x - excess / density
        x = torch.where((newton >= low) & (newton <= high), newton, 0.5 * (low + high))
    return x


def _solved(
    normals: _Normals,
    probability: Tensor,
    x: Tensor,
    bracket: tuple[Tensor, Tensor],
    sharpest: Tensor,
) -> Tensor:
    """Take Halley steps for the rows that still move; bisect where they leave the bracket."""
    low, high = bracket
    result, step = x.clone(), high - low
    active = torch.arange(len(x), device=x.device)
    for _ in range(STEPS):
        excess, density, bend = _distribution(normals, x)
        excess = excess - probability
        low, high = torch.where(excess < 0, x, low), torch.where(excess > 0, x, high)
        newton = excess / density
        halley = newton / (1.0 - 0.5 * newton * bend).clamp(0.5, 2.0)
        after = x - halley
        good = (after >= low) & (after <= high) & (halley.abs() <= 0.5 * step)
        after = torch.where(good, after, 0.5 * (low + high))
        step, result[active] = (after - x).abs(), after
        left = step.pow(3) * (bend.square() + sharpest.square())
        on = ((step > TOLERANCE) & ~(good & (left < TOLERANCE))).nonzero().squeeze(1)
        if not len(on):
            break
        active, x, step, low, high, probability, sharpest = (
            value[on] for value in (active, after, step, low, high, probability, sharpest)
        )
        normals = normals.where(on)
    return result


def _distribution(normals: _Normals, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the distribution function, the density, and the derivative of ln of the density."""
    pull = (x.unsqueeze(-1) - normals.means).mul_(normals.inverse)
    below = 0.5 + 0.5 * (normals.weights * (pull * math.sqrt(0.5)).erf_()).sum(-1)
    share = pull.square().mul_(-0.5).exp_().mul_(normals.weights).mul_(normals.inverse)
    total = share.sum(-1)
    bend = -share.mul_(pull).mul_(normals.inverse).sum(-1) / total
    return below, total / math.sqrt(2 * math.pi), bend
