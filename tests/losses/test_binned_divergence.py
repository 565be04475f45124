"""The binned divergence against closed forms, and as a function that can be minimised."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.spatial.distance import jensenshannon
from torch import Tensor

from hepcalib.exceptions import ConfigError, DataError
from hepcalib.losses import binned_divergence


def sample(n: int = 4000, *, seed: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    score, nuisance = torch.rand(2, n, generator=generator, dtype=torch.float64)
    return score, nuisance


def test_value_of_an_independent_implementation() -> None:
    score, nuisance = sample()
    weight = torch.rand(4000, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    score = score * nuisance
    counts = [
        torch.histogram(nuisance, bins=10, range=(0.0, 1.0), weight=weight * part).hist
        for part in (score, 1 - score)
    ]
    found = binned_divergence(score, nuisance, weight=weight, bins=10, bounds=(0.0, 1.0))
    # scipy returns the square root
    assert found.item() == pytest.approx(
        jensenshannon(counts[0].numpy(), counts[1].numpy(), base=2) ** 2, rel=1e-12
    )
    p, everything = counts[0] / counts[0].sum(), (counts[0] + counts[1]) / weight.sum()
    expected = (p * (p / everything).log2()).sum()
    kl = binned_divergence(
        score, nuisance, weight=weight, bins=10, bounds=(0.0, 1.0), kind="kullback_leibler"
    )
    assert kl.item() == pytest.approx(expected.item(), rel=1e-12)


def test_disjoint_is_one_bit_and_equal_is_zero() -> None:
    nuisance = torch.arange(100.0)
    assert binned_divergence((nuisance > 49).float(), nuisance, bins=10).item() == 1.0
    assert binned_divergence(torch.full((100,), 0.3), nuisance).item() == pytest.approx(
        0, abs=1e-15
    )


def test_expectation_for_independent_samples() -> None:
    """At a hard cut it is (B - 1) / (8 ln 2) (1 / n_pass + 1 / n_fail), with an error of
    sqrt(2 / (B - 1)) of it each time."""
    bins, n, repeats = 50, 10_000, 20
    found = [
        binned_divergence(*sample(n, seed=s), bins=bins, efficiency=0.1, temperature=1e-6).item()
        for s in range(repeats)
    ]
    expected = (bins - 1) / (8 * math.log(2)) * (1 / 1000 + 1 / 9000)
    error = math.sqrt(2 / (bins - 1) / repeats)
    assert sum(found) / repeats == pytest.approx(expected, rel=3 * error)
    score, nuisance = sample(n)
    shaped = binned_divergence(
        (score + nuisance) / 2, nuisance, bins=bins, efficiency=0.1, temperature=1e-6
    )
    assert shaped.item() > 20 * expected


@pytest.mark.parametrize("kind", ["jensen_shannon", "kullback_leibler"])
@pytest.mark.parametrize("efficiency", [None, 0.3])
def test_gradient(kind: str, efficiency: float | None) -> None:
    score, nuisance = sample(40)
    if efficiency is None:
        score.requires_grad_()
        assert torch.autograd.gradcheck(
            lambda s: binned_divergence(s, nuisance, bins=5, kind=kind), score
        )
        return
    # The cut is the 12th score, held fixed: differences of the other scores are its gradient.
    found = score.clone().requires_grad_()
    options = {"bins": 5, "kind": kind, "efficiency": efficiency, "temperature": 0.2}
    value = binned_divergence(found, nuisance, **options)  # type: ignore[arg-type]  # mixed options
    (gradient,) = torch.autograd.grad(value, found)
    other = int(score.argmin())
    step = torch.zeros_like(score)
    step[other] = 1e-6
    up, down = (
        binned_divergence(score + sign * step, nuisance, **options)  # type: ignore[arg-type]  # mixed options
        for sign in (0.5, -0.5)
    )
    assert gradient[other].item() == pytest.approx((up - down).item() / 1e-6, rel=1e-5)


def test_several_nuisances_and_replication() -> None:
    score, nuisance = sample(200)
    both = torch.stack([nuisance, nuisance.square()], 1)
    single = [binned_divergence(score, column) for column in both.T]
    torch.testing.assert_close(binned_divergence(score, both), sum(single) / 2)
    weight = torch.randint(0, 3, (200,), generator=torch.Generator().manual_seed(3))
    bounds = (0.0, 1.0)
    repeated = [part.repeat_interleave(weight) for part in (score, nuisance)]
    torch.testing.assert_close(
        binned_divergence(score, nuisance, weight=weight.double(), bounds=bounds),
        binned_divergence(*repeated, bounds=bounds),
    )


def test_what_is_outside_the_bounds_is_in_no_bin() -> None:
    score, nuisance = sample(200)
    inside = nuisance <= 0.5
    torch.testing.assert_close(
        binned_divergence(score, nuisance, bounds=(0.0, 0.5)),
        binned_divergence(score[inside], nuisance[inside], bounds=(0.0, 0.5)),
    )


@pytest.mark.parametrize("n", [0, 1, 2])
@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_few_entries_and_constant_scores_give_zero(n: int, value: float) -> None:
    score = torch.full((n,), value, requires_grad=True)
    found = binned_divergence(score, torch.ones(n))
    assert found.item() == 0.0
    (gradient,) = torch.autograd.grad(found, score)
    assert gradient.isfinite().all()
    assert binned_divergence(score, torch.ones(n), efficiency=0.5).item() == 0.0


def test_bad_input_is_refused() -> None:
    score, nuisance = sample(10)
    with pytest.raises(DataError, match=r"score 1\.5 at index 0 is outside \[0, 1\]"):
        binned_divergence(torch.full((10,), 1.5), nuisance)
    with pytest.raises(DataError, match="weight is negative"):
        binned_divergence(score, nuisance, weight=-torch.ones(10))
    with pytest.raises(ConfigError, match="unknown kind 'jensen'"):
        binned_divergence(score, nuisance, kind="jensen")
    with pytest.raises(ConfigError, match="needed: at least 2"):
        binned_divergence(score, nuisance, bins=1)
    with pytest.raises(ConfigError, match="needed: low < high"):
        binned_divergence(score, nuisance, bounds=(1.0, 0.0))
