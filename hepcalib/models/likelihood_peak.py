"""The highest point of many likelihoods of one parameter, and the interval around it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ROUNDS", "LikelihoodPeak", "find_peak"]

ROUNDS = 3  # of five points each, around the highest point of the scan
_REACH = 2.0  # the five points are at -2, -1, 0, 1, 2 steps of half a standard deviation
_NEWTON, _CROSSINGS = 4, 8  # iterations on the polynomial through the five points


class LikelihoodPeak(NamedTuple):
    """Where the likelihood of each row is largest, and where ln L is smaller by 1/2; (rows,)."""

    estimate: Tensor
    lower: Tensor
    upper: Tensor

    @property
    def sigma(self) -> Tensor:
        """Half the distance of the two points, (rows,)."""
        return 0.5 * (self.upper - self.lower)


class _Fit(NamedTuple):
    """The polynomial of degree four through five points, of t = (z - centre) / step."""

    centre: Tensor  # (rows,)
    step: Tensor  # (rows,)
    coefficients: Tensor  # (rows, 5), of t^0 to t^4
    highest: Tensor  # (rows,): the t of the highest of the points


def find_peak(
    log_likelihood: Callable[[Tensor], Tensor],
    grid: Tensor,
    *,
    rows: int,
) -> LikelihoodPeak:
    r"""Scan each row's ln L on a grid and refine its maximum with 15 more points.

    .. math:: \ln L(z_\pm) = \max_z \ln L(z) - \tfrac{1}{2}

    Around the highest point of the grid, three times, a polynomial of degree four through five
    points half a standard deviation apart gives the next centre and the next standard deviation.
    The estimate stays within the grid. z_+ and z_- are at most two standard deviations away, also
    where ln L rises over the end of the grid.

    Args:
        log_likelihood: Returns the ln L of all rows at points of their own.
        grid: Points of the scan, in equal steps.
        rows: Number of likelihoods.

    Shapes:
        log_likelihood: (rows, points) -> (rows, points); grid: (at least 3,) -> (rows,) each
    """
    values = log_likelihood(grid.expand(rows, -1))
    spacing = grid[1] - grid[0]
    inner = values.argmax(1).clamp(1, len(grid) - 2)
    beside = inner.unsqueeze(1) + torch.arange(-1, 2, device=inner.device)
    left, middle, right = values.gather(1, beside).unbind(1)
    curvature = (left + right - 2 * middle).clamp(max=-1e-3)
    centre = grid[inner] + spacing * (0.5 * (left - right) / curvature).clamp(-1, 1)
    step = spacing * (0.5 * (-curvature).rsqrt()).clamp(0.02, 0.5)
    fit, t = _Fit(centre, step, values, centre), torch.zeros_like(centre)
    for _ in range(ROUNDS):
        fit = _fitted(log_likelihood, centre, step)
        t = _maximum(fit)
        t = t.clamp(min=(grid[0] - centre) / step).clamp(max=(grid[-1] - centre) / step)
        centre = centre + step * t
        width = (-_derivatives(fit.coefficients, t)[1]).clamp(min=1e-2).rsqrt()
        step = step * (0.5 * width).clamp(0.2, 2.0)
    lower, upper = (fit.centre + fit.step * (t + s * _distance(fit, t, s)) for s in (-1, 1))
    return LikelihoodPeak(centre, lower, upper)


def _fitted(log_likelihood: Callable[[Tensor], Tensor], centre: Tensor, step: Tensor) -> _Fit:
    t = torch.linspace(-_REACH, _REACH, 5, dtype=centre.dtype, device=centre.device)
    values = log_likelihood(centre.unsqueeze(1) + step.unsqueeze(1) * t)
    highest, where = values.max(1, keepdim=True)
    inverse = torch.linalg.inv(torch.linalg.vander(t.double().cpu())).to(centre)
    return _Fit(centre, step, (values - highest) @ inverse.T, t[where.squeeze(1)])


def _maximum(fit: _Fit) -> Tensor:
    """Return the t of the maximum, by Newton steps that stay next to the highest point."""
    t = fit.highest
    low, high = (t - 1).clamp(min=-_REACH), (t + 1).clamp(max=_REACH)
    for _ in range(_NEWTON):
        slope, curvature = _derivatives(fit.coefficients, t)
        newton = t - slope / curvature.clamp(max=-1e-2)
        t = torch.minimum(torch.maximum(newton, low), high)
    return t


def _distance(fit: _Fit, t: Tensor, side: int) -> Tensor:
    """Return how far from t, to a side, the polynomial is smaller by 1/2."""
    peak, distance = _value(fit.coefficients, t), torch.full_like(t, _REACH)
    for _ in range(_CROSSINGS):
        drop = peak - _value(fit.coefficients, t + side * distance)
        distance = (distance * (2 * drop).clamp(min=0.1).rsqrt()).clamp(0.25, 2 * _REACH)
    return distance


def _value(coefficients: Tensor, t: Tensor) -> Tensor:
    c0, c1, c2, c3, c4 = coefficients.unbind(1)
    return c0 + t * (c1 + t * (c2 + t * (c3 + t * c4)))


def _derivatives(coefficients: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    _, c1, c2, c3, c4 = coefficients.unbind(1)
    slope = c1 + t * (2 * c2 + t * (3 * c3 + t * 4 * c4))
    return slope, 2 * c2 + t * (6 * c3 + t * 12 * c4)
