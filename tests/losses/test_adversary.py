"""The adversary finds the entropy of the nuisance given the score, and its gradient is turned."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from hepcalib.exceptions import ConfigError, DataError, ShapeError
from hepcalib.losses import Adversary, reversed_gradient

NORMAL = 0.5 * math.log(2 * math.pi * math.e)  # entropy of N(0, 1): 1.41894 nat
N = 20_000


def pair(correlation: float, *, seed: int = 1) -> tuple[Tensor, Tensor]:
    """A score in [0, 1] and a nuisance, N(0, 1) each before the score is squeezed."""
    generator = torch.Generator().manual_seed(seed)
    x, noise = torch.randn(2, N, generator=generator)
    return torch.special.ndtr(x), correlation * x + math.sqrt(1 - correlation**2) * noise


def trained(adversary: Adversary, *sample: Tensor, auxiliary: Tensor | None = None) -> Adversary:
    adversary.fit(sample[1], auxiliary)
    optimizer = torch.optim.Adam(adversary.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 400)
    generator = torch.Generator().manual_seed(5)
    for _ in range(400):
        rows = torch.randint(0, N, (2000,), generator=generator)
        parts = [part[rows] for part in sample]
        known = None if auxiliary is None else auxiliary[rows]
        loss = adversary(*parts, auxiliary=known)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return adversary


# The empirical entropy of N normal numbers has a standard deviation of sqrt(1/2 / N) = 0.005, and
# a fit of 64 hidden units to as many jets costs about (parameters used) / (2 N) = 0.005 more.
TOLERANCE = 3 * math.sqrt(0.5 / N) + 0.005


@pytest.mark.parametrize(("correlation", "entropy"), [(0.0, 1.41894), (0.5, 1.27510)])
def test_optimum_is_the_conditional_entropy(correlation: float, entropy: float) -> None:
    torch.manual_seed(0)
    adversary = trained(Adversary(components=5), *pair(correlation))
    assert NORMAL + 0.5 * math.log(1 - correlation**2) == pytest.approx(entropy, abs=1e-5)
    found = adversary(*pair(correlation, seed=2)).item()
    assert found == pytest.approx(entropy, abs=TOLERANCE)
    if correlation:  # shuffled scores tell nothing, and mislead who believes them
        score, nuisance = pair(correlation, seed=2)
        assert adversary(score.flip(0), nuisance).item() > NORMAL + TOLERANCE


def test_units_shift_the_entropy_by_the_logarithm_of_the_scale() -> None:
    torch.manual_seed(0)
    score, nuisance = pair(0.5)
    adversary = trained(Adversary(components=5), score, 80 + 20 * nuisance)
    found = adversary(score, 80 + 20 * nuisance).item()
    assert found == pytest.approx(1.27510 + math.log(20), abs=TOLERANCE)


def test_what_an_auxiliary_input_tells_is_known_without_the_score() -> None:
    torch.manual_seed(0)
    score, _ = pair(0.0)
    known = torch.randn(N, 1, generator=torch.Generator().manual_seed(3))
    noise = torch.randn(N, generator=torch.Generator().manual_seed(4))
    nuisance = 0.8 * known[:, 0] + 0.6 * noise
    adversary = Adversary(components=5, auxiliary=1)
    trained(adversary, score, nuisance, auxiliary=known)
    found = adversary(score, nuisance, auxiliary=known).item()
    assert found == pytest.approx(NORMAL + math.log(0.6), abs=TOLERANCE)


def test_several_nuisances_are_the_mean_of_single_ones() -> None:
    torch.manual_seed(0)
    score, nuisance = pair(0.5)
    both = Adversary(components=3, nuisances=2)
    both.fit(torch.stack([nuisance, 3 * nuisance], 1))
    one = Adversary(components=3)
    one.load_state_dict(
        {
            name: value[: len(value) // 2] if name.startswith(("last", "shift", "scale")) else value
            for name, value in both.state_dict().items()
        }
    )
    doubled = Adversary(components=3)
    doubled.load_state_dict(
        {
            name: value[len(value) // 2 :] if name.startswith(("last", "shift", "scale")) else value
            for name, value in both.state_dict().items()
        }
    )
    expected = 0.5 * (one(score, nuisance) + doubled(score, 3 * nuisance))
    found = both(score, torch.stack([nuisance, 3 * nuisance], 1))
    torch.testing.assert_close(found, expected)


def test_bounded_densities_are_normalised_on_their_interval() -> None:
    torch.manual_seed(0)
    adversary = Adversary(components=4, bounds=(50.0, 300.0)).double()
    with torch.no_grad():
        adversary.last.weight.normal_(std=0.5)
        adversary.last.bias.normal_(std=2.0)
    adversary.fit(torch.empty(0))
    grid = torch.linspace(50, 300, 20_001, dtype=torch.float64)
    for value in (0.0, 0.3, 1.0):
        score = torch.full_like(grid, value)
        density = adversary._log_density(score, grid[:, None], None)[:, 0].exp()
        assert np.trapezoid(density.detach().numpy(), grid.numpy()) == pytest.approx(1, abs=1e-6)
    with pytest.raises(
        DataError, match=r"nuisance \[301\.0\] in row 0 .* bounds \(50\.0, 300\.0\)"
    ):
        adversary(torch.ones(1), torch.full((1,), 301.0))


def test_weights_are_replications() -> None:
    score, nuisance = (part[:40] for part in pair(0.5))
    weight = torch.randint(0, 4, (40,), generator=torch.Generator().manual_seed(1))
    adversary = Adversary(components=3)
    repeated = adversary(score.repeat_interleave(weight), nuisance.repeat_interleave(weight))
    torch.testing.assert_close(adversary(score, nuisance, weight=weight.float()), repeated)
    zero = adversary(score, nuisance, weight=torch.zeros(40))
    assert zero.item() == 0.0


@pytest.mark.parametrize("strength", [0.0, 1.0, 7.5])
def test_the_gradient_is_turned_exactly(strength: float) -> None:
    x = torch.randn(50, dtype=torch.float64, requires_grad=True)
    (plain,) = torch.autograd.grad((x**3).sum(), x)
    (turned,) = torch.autograd.grad((reversed_gradient(x, strength=strength) ** 3).sum(), x)
    assert torch.equal(turned, -strength * plain)
    assert torch.equal(reversed_gradient(x, strength=strength), x)


def test_a_single_jet_and_a_constant_score_are_finite() -> None:
    adversary = Adversary(components=3)
    assert adversary(torch.ones(1), torch.ones(1)).isfinite()
    assert adversary(torch.ones(9), torch.arange(9.0)).isfinite()
    far = adversary(torch.ones(1), torch.full((1,), 1e4))
    assert far.isfinite()


def test_bad_input_is_refused() -> None:
    with pytest.raises(ConfigError, match="components 0"):
        Adversary(components=0)
    with pytest.raises(ConfigError, match="needed: low < high"):
        Adversary(bounds=(2.0, 1.0))
    adversary = Adversary(auxiliary=1)
    with pytest.raises(ShapeError, match="1 nuisances, 0 auxiliary inputs; needed: 1, 1"):
        adversary(torch.ones(3), torch.ones(3))
    with pytest.raises(DataError, match="a nuisance is constant"):
        adversary.fit(torch.ones(3), torch.ones(3, 1))
    with pytest.raises(DataError, match="Adversary: score is not finite"):
        Adversary()(torch.tensor([math.nan]), torch.ones(1))
