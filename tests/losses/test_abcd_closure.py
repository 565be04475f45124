"""The non-closure at random cuts: 0 where the pair is independent, seen in the tail."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from scipy.special import expit
from torch import Tensor

from hepcalib.exceptions import ConfigError, DataError
from hepcalib.losses import abcd_closure, distance_correlation

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Range = tuple[float, float]

N = 20_000
STEEPNESS = 100.0  # of the soft cuts, for numbers in (0, 1)
UNIT = (0.0, 1.0)


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


def shares(percentiles: tuple[float, float]) -> Floats:
    """Shares of the entries below the cuts, as many as represent all of them."""
    low, high = percentiles
    return (low + (high - low) * (np.arange(1000) + 0.5) / 1000) / 100.0


def passing(at: Floats, over: Range) -> Floats:
    """Mean of the soft cut f = sigma(100 (x - at)) for x uniform in a range."""
    low, high = (np.logaddexp(0.0, STEEPNESS * (end - at)) for end in over)
    return np.asarray((high - low) / (STEEPNESS * (over[1] - over[0])))


def expected_of_independent(percentiles: tuple[float, float]) -> float:
    """Mean of N independent pairs, uniform in (0, 1).

    With p = <f> and V = Var f of the cuts on both, (A D - B C) / N^2 is the covariance of f and f':
    normal around 0 with variance V V' / N. (A D + B C) / N^2 is 2 p (1 - p) p' (1 - p'). As <|Z|>
    of a standard normal Z is sqrt(2 / pi), the ratio is h h' / sqrt(2 pi N) in the mean, with
    h = sqrt(V) / (p (1 - p)). For hard cuts V = p (1 - p), and h averaged over shares u of a to b
    is the integral of du / sqrt(u (1 - u)) over b - a: 2 (asin sqrt b - asin sqrt a) / (b - a).
    """
    at = shares(percentiles)
    p = passing(at, UNIT)
    soft = (expit(STEEPNESS * (1.0 - at)) - expit(-STEEPNESS * at)) / STEEPNESS  # <f (1 - f)>
    h = np.mean(np.sqrt(p * (1.0 - p) - soft) / (p * (1.0 - p)))
    return float(h**2 / np.sqrt(2.0 * np.pi * N))


def least_of_mixture(
    share: float, first: tuple[Range, Range], other: tuple[Range, Range], *, percentiles: Range
) -> float:
    """Non-closure of infinitely many pairs, a share of which is uniform in the first ranges of
    score and nuisance, the rest in the others. With fewer it is not less: <|x|> >= |<x>|.

    The covariance of the cuts is share (1 - share) times the differences of what passes, <f>.
    """
    means, steps = [], []
    for one, rest in zip(first, other, strict=True):
        knots = np.unique([*one, *rest])
        below = [np.interp(knots, ends, UNIT) for ends in (one, rest)]
        at = np.interp(shares(percentiles), share * below[0] + (1.0 - share) * below[1], knots)
        means.append(share * passing(at, one) + (1.0 - share) * passing(at, rest))
        steps.append(passing(at, one) - passing(at, rest))
    p, q = means[0][:, None], means[1]
    covariance = share * (1.0 - share) * steps[0][:, None] * steps[1]
    ad = (p * q + covariance) * ((1.0 - p) * (1.0 - q) + covariance)
    bc = (p * (1.0 - q) - covariance) * ((1.0 - p) * q - covariance)
    return float(np.mean(np.abs(ad - bc) / (ad + bc)))


def measured(
    loss: Callable[[Tensor, Tensor], Tensor], change: Callable[[Tensor, Tensor], Tensor]
) -> Floats:
    """The loss of each of 25 samples of N pairs, after a change of the nuisances."""
    values = []
    for seed in range(25):
        score, nuisance = pair(N, seed=seed)
        torch.manual_seed(1000 + seed)  # of the cuts, that they are not the scores
        values.append(loss(score, change(score, nuisance)).item())
    return np.array(values)


def error(values: Floats) -> float:
    return float(values.std(ddof=1) / np.sqrt(len(values)))


def unchanged(_: Tensor, nuisance: Tensor) -> Tensor:
    return nuisance


def in_the_same_half(score: Tensor, nuisance: Tensor) -> Tensor:
    return 0.5 * nuisance + 0.5 * (score > 0.5)


def high_in_the_tail(score: Tensor, nuisance: Tensor) -> Tensor:
    """The highest percent of the scores are those of high nuisance."""
    return torch.where(score > 0.99, 0.5 + 0.5 * nuisance, nuisance)


@pytest.mark.parametrize("percentiles", [(1.0, 99.0), (40.0, 99.5)])
def test_independent_pairs_close_up_to_fluctuations(percentiles: tuple[float, float]) -> None:
    closure = functools.partial(abcd_closure, cuts=25, percentiles=percentiles)
    found = measured(closure, unchanged)
    assert abs(found.mean() - expected_of_independent(percentiles)) < 4 * error(found)


def test_dependent_pairs_do_not_close() -> None:
    """Score and nuisance in the same half."""
    found = measured(functools.partial(abcd_closure, cuts=25), in_the_same_half)
    halves = ((0.5, 1.0), (0.5, 1.0)), ((0.0, 0.5), (0.0, 0.5))
    least = least_of_mixture(0.5, *halves, percentiles=(1.0, 99.0))
    assert least > 10 * expected_of_independent((1.0, 99.0))
    assert found.mean() > least - 4 * error(found)


def test_a_tail_that_the_correlation_hardly_sees() -> None:
    """It changes the squared distance covariance by (t (1 - t))^2 times the two energy distances
    between tail, of share t = 1 %, and rest: 2/3 for the scores, 1/6 for the nuisances. The squared
    distance variance of uniform numbers is 2 / 45."""
    low = (40.0, 99.5)
    found = measured(functools.partial(abcd_closure, cuts=25, percentiles=low), high_in_the_tail)
    tail, rest = ((0.99, 1.0), (0.5, 1.0)), ((0.0, 0.99), UNIT)
    least = least_of_mixture(0.01, tail, rest, percentiles=low)
    assert least > 2 * expected_of_independent(low)
    assert found.mean() > least - 4 * error(found)
    both = [measured(distance_correlation, change) for change in (high_in_the_tail, unchanged)]
    difference = both[0] - both[1]
    expected = (0.01 * 0.99) ** 2 * (2.0 / 3.0) * (1.0 / 6.0) / (2.0 / 45.0)
    assert abs(difference.mean() - expected) < 4 * error(difference)
    assert least > 100 * expected


def test_cuts_that_nearly_nothing_passes() -> None:
    score, nuisance = pair(N)
    torch.manual_seed(2)
    found = abcd_closure(score, nuisance**0.1, cuts=200, percentiles=(97.0, 99.5))
    assert 0.0 <= found.item() <= 1.0


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
