from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from hepcalib.exceptions import ConfigError
from hepcalib.losses.leaky_gaussian_kernel import leaky_gaussian_kernel

DOUBLE = torch.float64
GRID = torch.linspace(-3.0, 3.0, 6001, dtype=DOUBLE)  # of ln R


def normal(x: Tensor, mean: float, sigma: float) -> Tensor:
    return torch.exp(-0.5 * ((x - mean) / sigma) ** 2) / (sigma * math.sqrt(2 * math.pi))


def minimum(density: Tensor, *, h: float, alpha: float = 0.0, relative: bool = True) -> float:
    """ln of the predicted response that minimises the expected loss under p(ln R)."""
    candidates = torch.linspace(-0.6, 0.8, 1401, dtype=DOUBLE)
    expected = []
    for candidate in candidates.tolist():
        response = GRID.exp()
        residual = math.exp(candidate) - response
        residual = residual / response if relative else residual
        loss = leaky_gaussian_kernel(residual, h=h, alpha=alpha)
        expected.append(torch.trapezoid(loss * density, GRID))
    return candidates[torch.stack(expected).argmin()].item()


def test_values_are_those_of_the_formula() -> None:
    u = torch.tensor([0.0, 0.1, -0.4], dtype=DOUBLE)
    found = leaky_gaussian_kernel(u, h=0.1, alpha=0.05).tolist()
    norm = 1 / (0.1 * math.sqrt(2 * math.pi))
    expected = [-norm, -norm * math.exp(-0.5) + 0.005, -norm * math.exp(-8.0) + 0.02]
    assert found == pytest.approx(expected, rel=1e-12)


def test_far_residuals_have_a_gradient_through_the_leak_only() -> None:
    u = torch.tensor([50.0, -50.0], requires_grad=True)
    leaky_gaussian_kernel(u, h=0.1, alpha=0.05).sum().backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
    assert u.grad is not None
    assert u.grad.tolist() == pytest.approx([0.05, -0.05])
    (flat,) = torch.autograd.grad(leaky_gaussian_kernel(u, h=0.1).sum(), u)
    assert flat.tolist() == [0.0, 0.0]


def test_a_relative_residual_learns_the_mode_of_the_logarithm() -> None:
    mixture = 0.3 * normal(GRID, -0.3, 0.1) + 0.7 * normal(GRID, 0.4, 0.4)
    assert GRID[mixture.argmax()].item() == pytest.approx(-0.294, abs=1e-3)
    assert minimum(mixture, h=0.03) == pytest.approx(-0.295, abs=2e-3)
    log_normal = normal(GRID, 0.0, 0.3)
    assert 0.99 <= math.exp(minimum(log_normal, h=0.03)) <= 1.0
    # negative control: an absolute residual learns the mode of R itself
    absolute = minimum(log_normal, h=0.03, relative=False)
    assert math.exp(absolute) == pytest.approx(math.exp(-(0.3**2)), abs=2e-3)
    assert math.exp(absolute) < 0.92


def test_the_leak_moves_the_minimum_towards_the_median() -> None:
    skewed = 0.3 * normal(GRID, -0.3, 0.1) + 0.7 * normal(GRID, 0.4, 0.4)
    plain, leaking = minimum(skewed, h=0.1), minimum(skewed, h=0.1, alpha=0.05)
    assert plain < leaking < plain + 0.01
    assert minimum(skewed, h=0.1, alpha=100.0) > plain + 0.1


@pytest.mark.parametrize(("h", "alpha"), [(0.0, 0.0), (math.nan, 0.0), (0.1, -1.0)])
def test_impossible_numbers_are_refused(h: float, alpha: float) -> None:
    with pytest.raises(ConfigError, match="needed: h > 0, alpha >= 0"):
        leaky_gaussian_kernel(torch.zeros(1), h=h, alpha=alpha)
