from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import torch

from hepcalib.models.likelihood_peak import LikelihoodPeak, find_peak

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

CENTRES = torch.linspace(-2.0, 2.0, 41, dtype=torch.float64)


def normal(width: float, centres: Tensor = CENTRES) -> Callable[[Tensor], Tensor]:
    return lambda z: -0.5 * ((z - centres.unsqueeze(1)) / width).square()


def grid(nodes: int = 24) -> Tensor:
    return torch.linspace(-3.0, 3.0, nodes, dtype=torch.float64)


@pytest.mark.parametrize("width", [0.08, 0.3, 1.0])
def test_normal_likelihoods(width: float) -> None:
    peak = find_peak(normal(width), grid(), rows=len(CENTRES))
    torch.testing.assert_close(peak.estimate, CENTRES, rtol=0, atol=1e-6 * width)
    torch.testing.assert_close(peak.lower, CENTRES - width, rtol=0, atol=1e-4 * width)
    torch.testing.assert_close(peak.upper, CENTRES + width, rtol=0, atol=1e-4 * width)
    torch.testing.assert_close(peak.sigma, torch.full_like(CENTRES, width), rtol=1e-4, atol=0)


def skewed(z: Tensor) -> Tensor:
    """Poisson likelihood of a mean e^z for 3, 10 and 40 counts."""
    counts = torch.tensor([3.0, 10.0, 40.0], dtype=z.dtype).unsqueeze(1)
    return counts * z - z.exp()


def crossing(counts: float, low: float, high: float) -> float:
    """Where ln L is 1/2 below its maximum, by bisection."""
    top = counts * math.log(counts) - counts
    for _ in range(60):
        middle = 0.5 * (low + high)
        inside = counts * middle - math.exp(middle) > top - 0.5
        rising = counts * low - math.exp(low) < top - 0.5
        low, high = (low, middle) if inside == rising else (middle, high)
    return low


def test_skewed_likelihoods_have_asymmetric_intervals() -> None:
    axis = torch.linspace(-1.0, 6.0, 30, dtype=torch.float64)
    peak = find_peak(skewed, axis, rows=3)
    for row, counts in enumerate((3.0, 10.0, 40.0)):
        centre, sigma = math.log(counts), counts**-0.5
        assert peak.estimate[row].item() == pytest.approx(centre, abs=0.01 * sigma)
        below = centre - crossing(counts, centre - 3 * sigma, centre)
        above = crossing(counts, centre, centre + 3 * sigma) - centre
        assert below > above  # what a symmetric interval would miss
        assert (centre - peak.lower[row]).item() == pytest.approx(below, rel=0.02)
        assert (peak.upper[row] - centre).item() == pytest.approx(above, rel=0.02)


def test_the_refinement_matters() -> None:
    nodes = grid()
    nearest = nodes[normal(0.1)(nodes.expand(len(CENTRES), -1)).argmax(1)]
    assert (nearest - CENTRES).abs().max() > 0.1
    peak = find_peak(normal(0.1), nodes, rows=len(CENTRES))
    assert (peak.estimate - CENTRES).abs().max() < 1e-6


def test_the_higher_of_two_maxima_is_found() -> None:
    def two(z: Tensor) -> Tensor:
        left = -0.5 * ((z + 2) / 0.2).square() + torch.tensor([[0.0], [1.0]], dtype=z.dtype)
        return torch.logaddexp(left, -0.5 * ((z - 1.5) / 0.2).square() + 0.5)

    peak = find_peak(two, grid(), rows=2)
    torch.testing.assert_close(
        peak.estimate, torch.tensor([1.5, -2.0], dtype=torch.float64), rtol=0, atol=1e-4
    )


def test_estimates_stay_within_the_scan_and_have_a_width() -> None:
    centres = torch.tensor([-9.0, -3.2, 3.1, 8.0], dtype=torch.float64)
    peak = find_peak(normal(0.3, centres), grid(), rows=4)
    assert peak.estimate.tolist() == pytest.approx([-3.0, -3.0, 3.0, 3.0])
    assert (peak.sigma > 0).all()
    flat = find_peak(torch.zeros_like, grid(), rows=2)
    assert all(part.isfinite().all() for part in flat)
    assert (flat.sigma > 1.0).all()


def test_no_rows_and_single_precision() -> None:
    assert find_peak(normal(1.0, CENTRES[:0]), grid(), rows=0).estimate.shape == (0,)
    single = CENTRES.float()
    peak = find_peak(normal(0.1, single), grid().float(), rows=len(single))
    assert isinstance(peak, LikelihoodPeak)
    assert peak.estimate.dtype == torch.float32
    torch.testing.assert_close(peak.estimate, single, rtol=0, atol=1e-4 * 0.1)
