"""Every statistic of the prediction, for the distribution of every head."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import torch
from torch.distributions import LogNormal, Normal

from hepcalib.calibration import decompose, location, pooled
from hepcalib.calibration.location import mean, median, mode, quantile, response_mean, response_mode
from hepcalib.calibration.uncertainty import response_deviation
from hepcalib.exceptions import ConfigError
from hepcalib.models.components import components
from hepcalib.models.heads import (
    Head,
    LogNormalHead,
    LogNormalMixtureHead,
    MixtureHead,
    NormalHead,
    PointHead,
)

if TYPE_CHECKING:
    from torch import Tensor
    from torch.distributions import Distribution

DOUBLE = torch.float64
MEMBERS, ROWS = 9, 5
HEADS = [NormalHead(), MixtureHead(), LogNormalHead(), LogNormalMixtureHead(), PointHead("mse")]
every = pytest.mark.parametrize("head", HEADS, ids=lambda head: type(head).__name__)


def members(head: Head) -> Distribution:
    generator = torch.Generator().manual_seed(1)
    raw = 0.3 * torch.randn(MEMBERS, ROWS, head.outputs, generator=generator, dtype=DOUBLE)
    distribution: Distribution = head(raw)
    return distribution


def sampled(head: Head, count: int = 40_000) -> Tensor:
    """(draws of all members, rows)"""
    torch.manual_seed(2)
    return members(head).sample((count,)).reshape(-1, ROWS)


@every
def test_parts_of_the_variance_are_those_of_draws(head: Head) -> None:
    draws, found = sampled(head), decompose(members(head))
    # the draws are 360,000: 4 standard deviations of the mean are 4 / 600 of the width
    width = draws.std(0)
    assert ((draws.mean(0) - found.mean).abs() < 4 / 600 * width).all()
    assert ((found.total / width).log().abs() < 0.05).all()
    if isinstance(head, PointHead):
        assert found.systematic.tolist() == [0.0] * ROWS
        torch.testing.assert_close(found.statistical, members(head).mean.std(0, correction=0))
    assert (found.statistical > 0).all()


@every
def test_pooled_distribution_is_of_the_same_family(head: Head) -> None:
    together, parts = pooled(members(head)), decompose(members(head))
    assert together.batch_shape == (ROWS,)
    torch.testing.assert_close(together.mean, parts.mean)
    torch.testing.assert_close(together.stddev, parts.total)
    torch.testing.assert_close(mean(together), parts.mean)


@every
@pytest.mark.parametrize("probability", [0.16, 0.5, 0.84])
def test_quantiles_are_those_of_draws(head: Head, probability: float) -> None:
    if isinstance(head, PointHead):
        expected = members(head).mean.quantile(probability, dim=0)
        torch.testing.assert_close(quantile(pooled(members(head)), probability), expected)
        return
    draws, x = sampled(head), quantile(pooled(members(head)), probability)
    error = math.sqrt(probability * (1 - probability) / len(draws))
    assert ((draws < x).double().mean(0) - probability).abs().max() < 4 * error
    # negative control: the quantile of the first member is another one
    other = quantile(members(head), probability)[0]
    assert ((draws < other).double().mean(0) - probability).abs().max() > 4 * error


@every
@pytest.mark.parametrize("name", ["mean", "median", "mode"])
def test_locations_have_the_shape_of_the_batch(head: Head, name: str) -> None:
    statistic = getattr(location, name)
    assert statistic(members(head)).shape == (MEMBERS, ROWS)
    assert statistic(pooled(members(head))).shape == (ROWS,)


@pytest.mark.parametrize("head", [LogNormalHead(), LogNormalMixtureHead()])
def test_mode_of_log_normal_components_is_that_of_the_response(head: Head) -> None:
    together: Distribution = pooled(members(head))
    x = mode(together)
    grid = torch.linspace(0.001, 6.0, 6001, dtype=DOUBLE).unsqueeze(1)
    assert (together.log_prob(x) >= together.log_prob(grid).amax(0) - 1e-9).all()
    one = LogNormal(torch.zeros(1, dtype=DOUBLE), torch.full((1,), 0.3, dtype=DOUBLE))
    assert mode(one).item() == pytest.approx(math.exp(-0.09), abs=1e-9)
    assert median(one).item() == pytest.approx(1.0, abs=1e-9)


def test_one_point_is_all_its_statistics() -> None:
    point = PointHead("mse")(torch.tensor([[0.3], [-0.2]]))
    for statistic in (mean, median, mode, response_mean, response_mode):
        torch.testing.assert_close(statistic(point), point.mean)
    for probability in (0.01, 0.16, 0.99):
        torch.testing.assert_close(quantile(point, probability), point.mean)
    assert response_deviation(point).tolist() == [0.0, 0.0]


def test_statistics_of_the_response_are_those_of_a_log_normal_distribution() -> None:
    # V9: log10 R ~ N(0, 0.1^2)
    normal = Normal(torch.zeros(1, dtype=DOUBLE), torch.full((1,), 0.1, dtype=DOUBLE))
    average = 10 ** response_mean(normal).item()
    assert average == pytest.approx(1.02686, abs=5e-6)
    assert 10 ** response_mode(normal).item() == pytest.approx(0.94836, abs=5e-6)
    assert response_deviation(normal).item() / average == pytest.approx(0.23334, abs=5e-6)
    low, high = (10 ** quantile(normal, p).item() for p in (0.158655254, 0.841344746))
    assert (high - low) / 2 == pytest.approx(0.23230, abs=5e-6)


def test_mean_and_deviation_of_the_response_are_those_of_the_log_normal_mixture() -> None:
    head = MixtureHead(scale=0.1)
    together = pooled(members(head))
    parts = components(together)
    ln10 = math.log(10.0)
    scaled = LogNormal(ln10 * parts.means, ln10 * parts.deviations)
    weights = together.mixture_distribution.probs
    average = (weights * scaled.mean).sum(-1)
    square = (weights * (scaled.variance + scaled.mean**2)).sum(-1)
    torch.testing.assert_close(10 ** response_mean(together), average)
    torch.testing.assert_close(response_deviation(together), (square - average**2).sqrt())


@pytest.mark.parametrize(("s", "missing"), [(0.1, 0.01), (0.3, 0.07), (0.5, 0.17), (0.7, 0.31)])
def test_the_first_order_falls_short_by_what_the_documentation_says(
    s: float, missing: float
) -> None:
    sigma = s / math.log(10.0)
    exact = response_deviation(Normal(torch.zeros(1, dtype=DOUBLE), sigma)).item()
    assert 1 - s / exact == pytest.approx(missing, abs=0.005)


def test_small_deviations_of_the_response_keep_their_digits() -> None:
    narrow = Normal(torch.tensor([0.3]), torch.tensor([1e-6]))
    expected = math.log(10) * 10**0.3 * 1e-6
    assert response_deviation(narrow).item() == pytest.approx(expected, rel=1e-4)


def test_statistics_of_the_response_need_a_logarithm() -> None:
    for statistic in (response_mean, response_mode, response_deviation):
        with pytest.raises(ConfigError, match="LogNormal; needed: one of log10 R"):
            statistic(members(LogNormalHead()))
