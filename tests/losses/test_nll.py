from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import (
    Bernoulli,
    Categorical,
    LogNormal,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
)

from hepcalib.exceptions import DataError, ShapeError
from hepcalib.losses import nll

LOG_TWO_PI = math.log(2 * math.pi)


def mixture(logits: torch.Tensor, mean: torch.Tensor, sigma: torch.Tensor) -> MixtureSameFamily:
    return MixtureSameFamily(Categorical(logits=logits), Normal(mean, sigma))


def test_mixture_equals_brute_force() -> None:
    generator = torch.Generator().manual_seed(1)
    logits, mean, spread = torch.randn(3, 50, 3, generator=generator, dtype=torch.float64)
    target = torch.randn(50, generator=generator, dtype=torch.float64)
    total = 0.0
    for row in range(50):
        alpha = [math.exp(float(logit)) for logit in logits[row]]
        density = 0.0
        for k in range(3):
            sigma = math.exp(float(spread[row, k]) / 2)
            pull = (float(target[row]) - float(mean[row, k])) / sigma
            density += alpha[k] / sum(alpha) * math.exp(-(pull**2) / 2 - LOG_TWO_PI / 2) / sigma
        total -= math.log(density)
    value = nll(mixture(logits, mean, torch.exp(spread / 2)), target)
    assert float(value) == pytest.approx(total / 50, rel=1e-12)


def test_one_component_is_the_normal() -> None:
    generator = torch.Generator().manual_seed(2)
    mean, target = torch.randn(2, 20, generator=generator, dtype=torch.float64)
    sigma = torch.rand(20, generator=generator, dtype=torch.float64) + 0.1
    single = mixture(torch.zeros(20, 1, dtype=torch.float64), mean[:, None], sigma[:, None])
    torch.testing.assert_close(nll(single, target), nll(Normal(mean, sigma), target))


def test_finite_for_extreme_logits() -> None:
    logits = torch.tensor([[500.0, -500.0, 0.0], [-500.0, -500.0, -500.0]], requires_grad=True)
    mean = torch.zeros(2, 3, requires_grad=True)
    value = nll(mixture(logits, mean, torch.ones(2, 3)), torch.tensor([0.5, -0.5]))
    assert float(value.detach()) == pytest.approx(0.125 + LOG_TWO_PI / 2, rel=1e-6)
    for gradient in torch.autograd.grad(value, (logits, mean)):
        assert bool(torch.isfinite(gradient).all())


def test_in_the_response_itself() -> None:
    generator = torch.Generator().manual_seed(3)
    mean = 0.3 * torch.randn(100, generator=generator, dtype=torch.float64)
    sigma = torch.full_like(mean, 0.1)
    log10_response = mean + sigma * torch.randn(100, generator=generator, dtype=torch.float64)
    ln10 = math.log(10)
    in_response = nll(LogNormal(ln10 * mean, ln10 * sigma), 10**log10_response)
    difference = in_response - nll(Normal(mean, sigma), log10_response)
    assert float(difference) == pytest.approx(
        ln10 * float(log10_response.mean()) + math.log(ln10), rel=1e-10
    )
    assert math.log(ln10) == pytest.approx(0.834032, abs=5e-7)


def test_integer_weights_are_replication() -> None:
    mean = torch.tensor([0.0, 1.0, -2.0], dtype=torch.float64)
    target = torch.tensor([0.3, 0.1, 2.0], dtype=torch.float64)
    repeated = torch.tensor([0, 0, 0, 2])
    weight = torch.tensor([3.0, 0.0, 1.0])
    expected = nll(Normal(mean[repeated], 1.0), target[repeated])
    torch.testing.assert_close(nll(Normal(mean, 1.0), target, weight=weight), expected)
    torch.testing.assert_close(nll(Normal(mean, 1.0), target, weight=1e6 * weight), expected)
    assert float(nll(Normal(mean, 1.0), target)) != pytest.approx(float(expected), rel=1e-2)


def test_bernoulli_and_event_dimensions() -> None:
    logits = torch.tensor([0.0, 2.0], dtype=torch.float64)
    label = torch.tensor([1.0, 0.0], dtype=torch.float64)
    expected = (math.log(2) + math.log1p(math.exp(2))) / 2
    assert float(nll(Bernoulli(logits=logits), label)) == pytest.approx(expected, rel=1e-12)
    pair = MultivariateNormal(torch.zeros(3, 2), torch.eye(2))
    assert float(nll(pair, torch.zeros(3, 2))) == pytest.approx(LOG_TWO_PI, rel=1e-6)


def test_a_column_does_not_broadcast() -> None:
    with pytest.raises(ShapeError, match=r"\(4, 1\).*\(4,\)"):
        nll(Normal(torch.zeros(4), 1.0), torch.zeros(4, 1))
    with pytest.raises(ShapeError, match="one weight per row"):
        nll(Normal(torch.zeros(4), 1.0), torch.zeros(4), weight=torch.ones(4, 1))


def test_nothing_to_average() -> None:
    with pytest.raises(DataError, match="no rows"):
        nll(Normal(torch.zeros(0), 1.0), torch.zeros(0))
    for weight in (torch.zeros(2), torch.tensor([1.0, -2.0]), torch.tensor([1.0, math.nan])):
        with pytest.raises(DataError, match="the weights sum to"):
            nll(Normal(torch.zeros(2), 1.0), torch.zeros(2), weight=weight)
