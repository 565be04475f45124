"""The non-closure at random cuts: 0 where the pair is independent, seen in the tail."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from hepcalib.exceptions import ConfigError, DataError
from hepcalib.losses import abcd_closure, distance_correlation


def pair(n: int, *, seed: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    score, nuisance = torch.rand(2, n, generator=generator, dtype=torch.float64)
    return score, nuisance


def naive(
    score: Tensor, nuisance: Tensor, at: tuple[float, float], steepness: float, weight: Tensor
) -> float:
    counts = dict.fromkeys("abcd", 0.0)
    for s, m, w in zip(score.tolist(), nuisance.tolist(), weight.tolist(), strict=True):
        above = 1 / (1 + math.exp(-steepness * (s - at[0])))
        right = 1 / (1 + math.exp(-steepness * (m - at[1])))
        counts["a"] += w * above * right
        counts["b"] += w * above * (1 - right)
        counts["c"] += w * (1 - above) * right
        counts["d"] += w * (1 - above) * (1 - right)
    ad, bc = counts["a"] * counts["d"], counts["b"] * counts["c"]
    return abs(ad - bc) / (ad + bc)


def test_value_at_the_medians() -> None:
    score, nuisance = pair(51)
    ends = torch.tensor([0.0, 1.0], dtype=torch.float64)  # so that the range is exactly 1
    score, nuisance = torch.cat([score, ends]), torch.cat([nuisance, ends])
    at = float(score.median()), float(nuisance.median())
    weight = torch.rand(53, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    for given in (None, weight):
        found = abcd_closure(score, nuisance, weight=given, cuts=2, percentiles=(50.0, 50.0 + 1e-9))
        w = torch.ones(53) if given is None else given
        assert found.item() == pytest.approx(naive(score, nuisance, at, 100.0, w), rel=1e-10)


def test_independent_pairs_close_and_others_do_not() -> None:
    """At the rarest cut, of 1 % on both sides, N_A is n / 10^4 = 20 +- 22 %; typical ones are off
    by a few per cent. A dependent pair of the same size is off by much more."""
    torch.manual_seed(1)
    score, nuisance = pair(200_000)
    independent = abcd_closure(score, nuisance, cuts=50).item()
    assert independent < 0.05
    assert abcd_closure((score + nuisance) / 2, nuisance, cuts=50).item() > 0.5


def test_a_tail_that_the_correlation_hardly_sees() -> None:
    """The highest percent of the scores are those of high nuisance."""
    torch.manual_seed(1)
    score, nuisance = pair(20_000)
    tail = score > 0.99
    turned = nuisance.clone()
    turned[tail] = 0.5 + 0.5 * nuisance[tail]
    flat, shaped = (distance_correlation(score, m).item() for m in (nuisance, turned))
    assert shaped < flat + 1e-3
    rare = {"cuts": 200, "percentiles": (97.0, 99.5)}
    torch.manual_seed(2)
    reference = abcd_closure(score, torch.rand(20_000).double() ** 0.1, **rare)  # type: ignore[arg-type]  # mixed options
    assert reference.isfinite()
    low = {"cuts": 200, "percentiles": (40.0, 99.5)}
    torch.manual_seed(2)
    closed = abcd_closure(score, nuisance, **low).item()  # type: ignore[arg-type]  # mixed options
    torch.manual_seed(2)
    assert abcd_closure(score, turned, **low).item() > 1.2 * closed  # type: ignore[arg-type]  # mixed options


def test_the_tail_term_of_the_distance_correlation() -> None:
    score, nuisance = pair(300)
    torch.manual_seed(3)
    expected = distance_correlation(score, nuisance) + 2.5 * abcd_closure(score, nuisance)
    torch.manual_seed(3)
    torch.testing.assert_close(distance_correlation(score, nuisance, tail=2.5), expected)
    with pytest.raises(ConfigError, match="tail is -1"):
        distance_correlation(score, nuisance, tail=-1.0)


def test_gradient() -> None:
    score, nuisance = pair(30)
    lowest, highest = int(score.argmin()), int(score.argmax())
    found = score.clone().requires_grad_()

    def value(scores: Tensor) -> Tensor:
        torch.manual_seed(4)
        return abcd_closure(scores, nuisance, cuts=1, percentiles=(50.0, 50.0 + 1e-9))

    (gradient,) = torch.autograd.grad(value(found), found)
    at = int(score.sort().indices[15])  # the cut itself moves with this one
    for row in range(30):
        if row in {lowest, highest, at, int(score.sort().indices[14])}:
            continue  # these move the range or the cut, which count as constants
        step = torch.zeros_like(score)
        step[row] = 1e-7
        difference = (value(score + step) - value(score - step)).item() / 2e-7
        assert gradient[row].item() == pytest.approx(difference, rel=1e-4, abs=1e-8)


@pytest.mark.parametrize("n", [0, 1, 5])
def test_what_is_constant_gives_zero(n: int) -> None:
    score = torch.full((n,), 0.5, requires_grad=True)
    found = abcd_closure(score, torch.arange(float(n)))
    assert found.item() == 0.0
    assert torch.autograd.grad(found, score)[0].abs().sum() == 0.0
    assert abcd_closure(torch.arange(float(n)) / 5, torch.ones(n)).item() == 0.0


def test_weights_and_several_nuisances() -> None:
    score, nuisance = pair(100)
    options = {"cuts": 1, "percentiles": (50.0, 50.0 + 1e-9)}
    ones = abcd_closure(score, nuisance, weight=torch.ones(100), **options)  # type: ignore[arg-type]  # mixed options
    torch.testing.assert_close(ones, abcd_closure(score, nuisance, **options))  # type: ignore[arg-type]  # mixed options
    both = abcd_closure(score, torch.stack([nuisance, nuisance], 1), **options)  # type: ignore[arg-type]  # mixed options
    torch.testing.assert_close(ones, both)


def test_bad_input_is_refused() -> None:
    with pytest.raises(ConfigError, match="cuts 0"):
        abcd_closure(torch.ones(3), torch.ones(3), cuts=0)
    with pytest.raises(DataError, match="weight is negative"):
        abcd_closure(torch.ones(3), torch.ones(3), weight=-torch.ones(3))
