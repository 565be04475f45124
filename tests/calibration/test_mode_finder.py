from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, LogNormal, MixtureSameFamily, Normal

from hepcalib.calibration import mode_finder, pooled
from hepcalib.calibration.location import mode, response_mode
from hepcalib.models import components

DOUBLE = torch.float64
# The scan for starts leaves out components whose height is below 1e-9 of the highest.
LEFT_OUT = 1e-6


def mixture_of(logits: Tensor, means: Tensor, sigmas: Tensor) -> Distribution:
    return MixtureSameFamily(Categorical(logits=logits), Normal(means, sigmas))


def log_density(distribution: Distribution, x: Tensor) -> Tensor:
    density: Tensor = distribution.log_prob(x)
    return density


def random(rows: int, count: int, *, widths: float, seed: int) -> Distribution:
    """Means around 0 and widths around 0.3, over a factor exp(widths) up and down."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(3, rows, count, dtype=DOUBLE, generator=generator)
    return mixture_of(2.0 * noise[0], noise[1], 0.3 * (widths * noise[2]).exp())


def of_members(rows: int, members: int) -> Distribution:
    """Three components from members that differ little; most means are negative."""
    generator = torch.Generator().manual_seed(5)
    centre = torch.randn(3, 1, rows, 3, dtype=DOUBLE, generator=generator)
    spread = torch.randn(3, members, rows, 3, dtype=DOUBLE, generator=generator)
    logits, means, logs = centre + spread * torch.tensor([0.2, 0.1, 0.1]).view(3, 1, 1, 1)
    return pooled(mixture_of(logits, 0.15 * means - 0.3, (0.7 * logs - 2.5).exp()))


def brute_force(distribution: Distribution, *, points: int = 401) -> Tensor:
    """Log-density at the best of a dense grid and of points around every mean."""
    parts = components.components(distribution)
    low, high = parts.means.amin(-1), parts.means.amax(-1)
    grid = [low + f * (high - low) for f in torch.linspace(0.0, 1.0, points).tolist()]
    around = [parts.means + t * parts.deviations for t in (-0.1, -0.02, 0.0, 0.02, 0.1)]
    grid += [x for block in around for x in block.unbind(-1)]
    return torch.stack([log_density(distribution, x) for x in grid]).amax(0)


def naive(distribution: Distribution) -> Tensor:
    """The public finder: 1000 points from 0.9 times the lowest to 1.1 times the highest mean."""
    means = components.components(distribution).means
    low, high = 0.9 * means.amin(-1), 1.1 * means.amax(-1)
    points = [low + f * (high - low) for f in torch.linspace(0.0, 1.0, 1000).tolist()]
    heights = torch.stack([log_density(distribution, x) for x in points])
    return heights.amax(0)


@pytest.mark.parametrize("count", [2, 3, 17, 150])
@pytest.mark.parametrize("widths", [0.2, 0.7, 2.0])
def test_nothing_is_higher_than_the_mode(count: int, widths: float) -> None:
    distribution = random(40, count, widths=widths, seed=count)
    found = log_density(distribution, mode(distribution))
    assert (found >= brute_force(distribution) - LEFT_OUT).all()


def test_nothing_is_higher_than_the_mode_of_members() -> None:
    distribution = of_members(25, 50)
    assert components.components(distribution).means.shape == (25, 150)
    found = log_density(distribution, mode(distribution))
    best = brute_force(distribution, points=801)
    assert (found >= best - LEFT_OUT).all()
    # negative control: the public finder cuts the leftmost component off
    assert (naive(distribution) < best - 1e-3).any()


@pytest.mark.parametrize("members", [1, 50])
@pytest.mark.parametrize("sigma", [0.002, 0.02, 0.05])
def test_the_leftmost_component_is_found(members: int, sigma: float) -> None:
    # alone at the left end, and the highest: 0.3 / sigma against 0.35 / 0.08
    means = torch.tensor([-1.0, -0.25, -0.2], dtype=DOUBLE).repeat(4, 1)
    sigmas = torch.tensor([sigma, 0.08, 0.08], dtype=DOUBLE).repeat(4, 1)
    logits = torch.tensor([0.3, 0.35, 0.35], dtype=DOUBLE).log().repeat(4, 1)
    noise = torch.randn(members, 4, 3, generator=torch.Generator().manual_seed(1), dtype=DOUBLE)
    parts = (logits.expand(members, 4, 3), means + 1e-4 * noise, sigmas.expand(members, 4, 3))
    distribution = pooled(mixture_of(*parts))
    expected = mixture_of(logits, means, sigmas)
    if sigma < 0.05:
        assert mode(distribution).tolist() == pytest.approx([-1.0] * 4, abs=1e-3)
    assert mode(distribution).tolist() == pytest.approx(mode(expected).tolist(), abs=1e-3)
    if sigma < 0.05:
        assert (naive(distribution) < log_density(distribution, mode(distribution)) - 0.1).all()


@pytest.mark.parametrize("narrow", [0.5, 0.02, 0.002])
def test_the_highest_maximum_may_stand_beside_a_mean_of_lower_density(narrow: float) -> None:
    # the narrow components, of hardly any weight, decide how the starts are looked for
    means = torch.tensor([[-3.937, -2.828, -1.68, -0.539, *[-0.5] * 16]], dtype=DOUBLE)
    sigmas = torch.tensor([[0.5735, 0.4738, 0.6075, 0.3703, *[narrow] * 16]], dtype=DOUBLE)
    weights = torch.tensor([[0.5465, 0.3977, 0.03, 0.0225, *[1e-7] * 16]], dtype=DOUBLE)
    distribution = mixture_of(weights.log(), means, sigmas)
    at_means = log_density(distribution, means[0].unsqueeze(1)).flatten()
    assert int(at_means.argmax()) == 0
    assert mode(distribution).item() == pytest.approx(-3.065, abs=2e-3)
    # negative control: climbing from the highest mean ends in the other maximum
    one = components.Components(*(part[:, :2] for part in components.components(distribution)))
    end, _ = mode_finder._climb(one, means[:, 0])
    assert end.item() == pytest.approx(-3.74, abs=0.02)


@pytest.mark.validation
@pytest.mark.parametrize("seed", range(5))
def test_nothing_is_higher_than_the_mode_of_many_random_mixtures(seed: int) -> None:
    for count in (3, 20, 60, 150):
        for widths in (0.1, 0.5, 1.0, 2.0):
            distribution = random(200, count, widths=widths, seed=1000 * seed + count)
            found = log_density(distribution, mode(distribution))
            best = brute_force(distribution, points=2001)
            assert (found >= best - LEFT_OUT).all()


def test_a_scan_and_all_means_as_starts_lead_to_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    distribution = random(200, 30, widths=0.7, seed=3)
    expected = mode(distribution)
    monkeypatch.setattr(mode_finder, "EXHAUSTIVE", 30)
    torch.testing.assert_close(mode(distribution), expected, rtol=0, atol=1e-7)


def test_mode_of_the_response_of_one_log_normal() -> None:
    # log10 R ~ N(m, s^2): the mode of R is 10^(m - ln10 s^2); V9
    normal = Normal(torch.zeros(1, dtype=DOUBLE), torch.full((1,), 0.1, dtype=DOUBLE))
    assert 10 ** response_mode(normal).item() == pytest.approx(0.94836, abs=5e-6)
    assert 10 ** mode(normal).item() == 1.0  # another statistic
    wide = Normal(torch.tensor([-0.2], dtype=DOUBLE), torch.tensor([0.3], dtype=DOUBLE))
    assert response_mode(wide).item() == pytest.approx(-0.2 - math.log(10) * 0.09, abs=1e-9)


@pytest.mark.parametrize("count", [3, 40])
def test_mode_of_the_response_has_the_highest_density_of_the_response(count: int) -> None:
    distribution = random(50, count, widths=0.7, seed=8)
    parts, ln10 = components.components(distribution), math.log(10.0)
    of_response: Distribution = MixtureSameFamily(
        Categorical(logits=parts.log_weights),
        LogNormal(ln10 * parts.means, ln10 * parts.deviations),
    )
    found = response_mode(distribution)
    # ln p(R) = ln p(L) - ln R + const: its maximum lies left of the components, too
    grid = torch.linspace(-12.0, 4.0, 4001, dtype=DOUBLE).unsqueeze(1)
    best = (log_density(distribution, grid) - ln10 * grid).amax(0)
    height = log_density(distribution, found) - ln10 * found
    assert (height >= best - LEFT_OUT).all()
    torch.testing.assert_close(mode(of_response).log10(), found, rtol=0, atol=1e-7)
    # negative control: the mode of log10 R is not the mode of R
    other = mode(distribution)
    assert (log_density(distribution, other) - ln10 * other < best - 1e-3).all()
