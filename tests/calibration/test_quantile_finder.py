from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Categorical, Distribution, LogNormal, MixtureSameFamily, Normal

from hepcalib.calibration import quantile_finder
from hepcalib.calibration.quantile_finder import quantile, quantiles
from hepcalib.exceptions import ConfigError, ShapeError
from hepcalib.models import components

DOUBLE = torch.float64
ONE_SIGMA = (0.5, 0.15866, 0.84134)


def random(rows: int, count: int, *, widths: float = 0.7, separation: float = 1.0) -> Distribution:
    generator = torch.Generator().manual_seed(count)
    noise = torch.randn(3, rows, count, dtype=DOUBLE, generator=generator)
    normal = Normal(separation * noise[1], (widths * noise[2] - 0.7).exp())
    return MixtureSameFamily(Categorical(logits=noise[0]), normal)


def bisected(distribution: Distribution, probability: float) -> Tensor:
    low = torch.full(distribution.batch_shape, -1e4, dtype=DOUBLE)
    high = -low
    for _ in range(60):
        middle = 0.5 * (low + high)
        below = distribution.cdf(middle) < probability
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return low


@pytest.mark.parametrize("count", [1, 3, 16, 150])
@pytest.mark.parametrize(("widths", "separation"), [(0.2, 1.0), (2.0, 1.0), (0.7, 100.0)])
def test_several_quantiles_are_those_of_a_bisection(
    count: int, widths: float, separation: float
) -> None:
    distribution = random(100, count, widths=widths, separation=separation)
    probabilities = (*ONE_SIGMA, 1e-5, 0.9999)
    found = quantiles(distribution, probabilities)
    for x, probability in zip(found, probabilities, strict=True):
        expected = bisected(distribution, probability)
        assert ((x - expected).abs() < 1e-6 + 1e-9 * separation).all()


def test_a_start_far_from_the_solution_does_no_harm(monkeypatch: pytest.MonkeyPatch) -> None:
    # of the components with which the steps begin none is like the others
    parts = components.components(random(50, 60))
    means = parts.means.clone()
    means[:, : quantile_finder.FEW] += 50.0
    weights = parts.log_weights.clone()
    weights[:, : quantile_finder.FEW] -= 20.0
    distribution = MixtureSameFamily(Categorical(logits=weights), Normal(means, parts.deviations))
    expected = bisected(distribution, 0.84)
    assert ((quantile(distribution, 0.84) - expected).abs() < 1e-6).all()
    # negative control: the start alone is no solution
    monkeypatch.setattr(quantile_finder, "_solved", lambda _a, _b, x, *_: x)
    assert ((quantile(distribution, 0.84) - expected).abs() > 1e-6).any()


def test_each_row_may_have_its_own_probability() -> None:
    distribution = random(3, 5)
    wanted = torch.tensor([0.1, 0.5, 0.9], dtype=DOUBLE)
    found = quantiles(distribution, [wanted, 0.3])
    assert found.shape == (2, 3)
    for row, probability in enumerate(wanted.tolist()):
        assert found[0, row].item() == pytest.approx(
            quantile(distribution, probability)[row].item()
        )
    torch.testing.assert_close(found[1], quantile(distribution, 0.3), rtol=0, atol=1e-9)


def test_probabilities_broadcast_with_members_and_rows() -> None:
    normal = Normal(torch.zeros(4, 3, dtype=DOUBLE), torch.ones(4, 3, dtype=DOUBLE))
    wanted = torch.tensor([0.1, 0.5, 0.9], dtype=DOUBLE)
    expected = torch.special.ndtri(wanted).expand(4, 3)
    torch.testing.assert_close(quantile(normal, wanted), expected, rtol=0, atol=1e-9)
    with pytest.raises(ShapeError, match=r"probability of shape \(2,\).*batch shape \(4, 3\)"):
        quantile(normal, torch.tensor([0.1, 0.2]))


def test_quantiles_of_log_normal_components_are_the_exponentials() -> None:
    parts = components.components(random(50, 4))
    logs = random(50, 4)
    plain: Distribution = MixtureSameFamily(
        Categorical(logits=parts.log_weights), LogNormal(parts.means, parts.deviations)
    )
    found, expected = quantile(plain, 0.2), quantile(logs, 0.2).exp()
    torch.testing.assert_close(found, expected)
    assert plain.cdf(found).tolist() == pytest.approx([0.2] * 50, abs=1e-6)


def test_no_rows() -> None:
    empty = Normal(torch.zeros(0), torch.ones(0))
    assert quantiles(empty, [0.5, torch.zeros(0) + 0.5]).shape == (2, 0)


def test_nan_stays_in_its_row_whatever_the_probability() -> None:
    means = torch.zeros(3, 20, dtype=DOUBLE)
    means[1, 19] = torch.nan
    distribution = MixtureSameFamily(
        Categorical(logits=torch.zeros(3, 20)),
        Normal(means, torch.ones(3, 20), validate_args=False),
        validate_args=False,
    )
    found = quantiles(distribution, ONE_SIGMA)
    assert found.isnan().tolist() == [[False, True, False]] * 3
    assert found[1:, 0].tolist() == pytest.approx([-1.0, 1.0], abs=1e-4)


@pytest.mark.parametrize("wrong", [torch.tensor([0.5, 1.0]), torch.tensor([0.5, math.nan])])
def test_a_probability_out_of_range_is_refused(wrong: Tensor) -> None:
    with pytest.raises(ConfigError, match=r"probability is (1.0|nan); needed"):
        quantile(Normal(torch.zeros(2), torch.ones(2)), wrong)
