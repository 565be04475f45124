from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Distribution, MixtureSameFamily, Normal

from hepcalib.calibration import location, pooled
from hepcalib.calibration.location import LOCATIONS, mean, median, mode, quantile
from hepcalib.exceptions import ConfigError
from hepcalib.models import components

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DOUBLE = torch.float64
EXAMPLES = [  # weights, means, standard deviations, mode, end of a scan that cuts the ends off
    ((0.9, 0.05, 0.05), (-0.30, -0.25, 0.10), (0.05, 0.05, 0.05), -0.2983, -0.2700),
    ((0.8, 0.1, 0.1), (-1.0, -0.2, -0.1), (0.01, 0.1, 0.1), -1.0000, -0.1503),
]


def mixture(
    weights: Sequence[float], means: Sequence[float], sigmas: Sequence[float]
) -> Distribution:
    return MixtureSameFamily(
        Categorical(probs=torch.tensor([weights], dtype=DOUBLE)),
        Normal(torch.tensor([means], dtype=DOUBLE), torch.tensor([sigmas], dtype=DOUBLE)),
    )


def random_mixtures(rows: int, count: int, *, seed: int = 1) -> Distribution:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(3, rows, count, dtype=DOUBLE, generator=generator)
    return MixtureSameFamily(
        Categorical(logits=noise[0]), Normal(noise[1], (0.7 * noise[2] - 0.7).exp())
    )


def similar_members(rows: int, members: int) -> Distribution:
    """Three components from weight draws that differ little, as a network gives them."""
    generator = torch.Generator().manual_seed(2)
    centre = torch.randn(3, 1, rows, 3, dtype=DOUBLE, generator=generator)
    spread = torch.randn(3, members, rows, 3, dtype=DOUBLE, generator=generator)
    logits, means, logs = centre + spread * torch.tensor([0.2, 0.1, 0.1]).view(3, 1, 1, 1)
    normal = Normal(0.2 * means, (0.7 * logs - 2.0).exp())
    return pooled(MixtureSameFamily(Categorical(logits=logits), normal))


def scan(distribution: Distribution, *, points: int = 1001) -> Tensor:
    """Log-density at the best of many points from the lowest to the highest mean."""
    parts = components.components(distribution)
    low, high = parts.means.amin(-1), parts.means.amax(-1)
    heights = [
        distribution.log_prob(low + fraction * (high - low))
        for fraction in torch.linspace(0.0, 1.0, points).tolist()
    ]
    return torch.stack(heights).amax(0)


def naive_scan(distribution: Distribution) -> float:
    """The public finder: 1000 points from 0.9 times the lowest to 1.1 times the highest mean."""
    means = components.components(distribution).means
    low, high = 0.9 * means.min().item(), 1.1 * means.max().item()
    points = torch.linspace(low, high, 1000, dtype=DOUBLE)
    return points[distribution.log_prob(points).argmax()].item()


def test_every_location_is_a_function_of_the_room() -> None:
    assert sorted(LOCATIONS) == [name for name in location.__all__ if name in LOCATIONS]


@pytest.mark.parametrize(("weights", "means", "sigmas", "expected", "naive"), EXAMPLES)
def test_mode_of_negative_means_is_found_where_the_usual_scan_cuts_it_off(
    weights: Sequence[float],
    means: Sequence[float],
    sigmas: Sequence[float],
    expected: float,
    naive: float,
) -> None:
    distribution = mixture(weights, means, sigmas)
    assert mode(distribution).item() == pytest.approx(expected, abs=5e-5)
    assert naive_scan(distribution) == pytest.approx(naive, abs=5e-4)
    assert naive_scan(distribution) != pytest.approx(expected, abs=1e-2)


@pytest.mark.parametrize("count", [1, 3, 16, 17])
def test_mode_is_nowhere_below_a_scan(count: int) -> None:
    distribution = random_mixtures(100, count)
    found = distribution.log_prob(mode(distribution))
    assert (found >= scan(distribution) - 1e-9).all()


def test_mode_of_pooled_members_is_nowhere_below_a_scan() -> None:
    distribution = similar_members(100, 20)
    found = distribution.log_prob(mode(distribution))
    assert (found >= scan(distribution) - 1e-9).all()
    # the mean of the highest component is not good enough
    parts = components.components(distribution)
    tallest = (parts.log_weights - parts.deviations.log()).argmax(-1, keepdim=True)
    start = parts.means.gather(-1, tallest).squeeze(-1)
    assert (distribution.log_prob(start) < scan(distribution) - 1e-3).any()


def test_gradient_of_the_density_vanishes_at_the_mode() -> None:
    distribution = random_mixtures(300, 5)
    x = mode(distribution).requires_grad_()
    distribution.log_prob(x).sum().backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
    width = components.components(distribution).deviations.amin(-1)
    assert x.grad is not None
    assert (x.grad * width).abs().max() < 1e-6


@pytest.mark.parametrize("probability", [1e-4, 0.16, 0.5, 0.84, 0.999])
@pytest.mark.parametrize("count", [1, 3, 60])
def test_quantile_inverts_the_distribution_function(probability: float, count: int) -> None:
    distribution = random_mixtures(500, count)
    x = quantile(distribution, probability)
    assert (distribution.cdf(x - 1e-6) < probability).all()
    assert (distribution.cdf(x + 1e-6) > probability).all()


@pytest.mark.parametrize(("separation", "sigma"), [(1.0, 1e-4), (50.0, 1e-3), (1e3, 1.0)])
def test_quantile_of_components_far_apart(separation: float, sigma: float) -> None:
    distribution = mixture((0.3, 0.7), (0.0, separation), (sigma, sigma))
    left, right = torch.special.ndtri(torch.tensor([0.1 / 0.3, 0.2 / 0.7], dtype=DOUBLE)).tolist()
    assert quantile(distribution, 0.1).item() == pytest.approx(sigma * left, abs=1e-6)
    assert median(distribution).item() == pytest.approx(separation + sigma * right, abs=1e-6)


def test_locations_of_a_normal_distribution_are_its_mean() -> None:
    normal = Normal(torch.tensor([-1.0, 0.5]), torch.tensor([0.1, 2.0]))
    for statistic in (mean, median, mode):
        torch.testing.assert_close(statistic(normal), normal.mean)
    expected = normal.mean + normal.stddev * torch.special.ndtri(torch.tensor(0.84))
    torch.testing.assert_close(quantile(normal, 0.84), expected)


def test_mean_is_that_of_the_distribution_and_differentiable() -> None:
    distribution = random_mixtures(100, 7)
    torch.testing.assert_close(mean(distribution), distribution.mean)
    x = torch.zeros(1, 3, requires_grad=True)
    mean(MixtureSameFamily(Categorical(logits=torch.zeros(1, 3)), Normal(x, 1.0))).sum().backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
    assert x.grad is not None
    assert x.grad.tolist() == [pytest.approx([1 / 3] * 3)]


def test_relative_width_of_a_log_normal_response() -> None:
    normal = Normal(torch.zeros(1, dtype=DOUBLE), torch.full((1,), 0.1, dtype=DOUBLE))
    one_sigma = 0.5 * (1 + math.erf(math.sqrt(0.5)))
    low, middle, high = (10 ** quantile(normal, p) for p in (1 - one_sigma, 0.5, one_sigma))
    assert ((high - low) / (2 * middle)).item() == pytest.approx(0.23230, abs=1e-5)


@pytest.mark.parametrize("statistic", [mean, median, mode])
def test_shape_dtype_and_rows_are_kept(statistic: Callable[[Distribution], Tensor]) -> None:
    normal = Normal(torch.randn(2, 3, 4, 5), torch.ones(()))
    distribution = MixtureSameFamily(Categorical(logits=torch.zeros(2, 3, 4, 5)), normal)
    found = statistic(distribution)
    assert found.shape == (2, 3, 4)
    assert found.dtype == torch.float32
    parts = normal.loc[1, 2], normal.scale[1, 2]
    one = MixtureSameFamily(Categorical(logits=torch.zeros(4, 5)), Normal(*parts))
    torch.testing.assert_close(statistic(one), found[1, 2])
    assert statistic(Normal(torch.zeros(0), torch.ones(0))).shape == (0,)


@pytest.mark.parametrize("statistic", [median, mode])
def test_results_do_not_depend_on_the_block(
    statistic: Callable[[Distribution], Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    distribution = random_mixtures(50, 20)
    expected = statistic(distribution)
    monkeypatch.setattr(components, "BLOCK", 60)
    torch.testing.assert_close(statistic(distribution), expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("statistic", [mean, median, mode])
@pytest.mark.parametrize("count", [3, 20])
def test_nan_stays_in_its_row(statistic: Callable[[Distribution], Tensor], count: int) -> None:
    means = torch.zeros(3, count, dtype=DOUBLE)
    means[1, 1] = torch.nan
    distribution = MixtureSameFamily(
        Categorical(logits=torch.zeros(3, count)),
        Normal(means, torch.ones(3, count), validate_args=False),
        validate_args=False,
    )
    assert statistic(distribution).isnan().tolist() == [False, True, False]


@pytest.mark.parametrize("statistic", [mean, median, mode])
def test_what_is_no_mixture_of_normal_distributions_is_refused(
    statistic: Callable[[Distribution], Tensor],
) -> None:
    with pytest.raises(ConfigError, match="Bernoulli"):
        statistic(Bernoulli(logits=torch.zeros(3)))


@pytest.mark.parametrize("probability", [0.0, 1.0, -0.1, math.nan])
def test_a_probability_out_of_range_is_refused(probability: float) -> None:
    with pytest.raises(ConfigError, match="probability"):
        quantile(Normal(torch.zeros(1), torch.ones(1)), probability)
