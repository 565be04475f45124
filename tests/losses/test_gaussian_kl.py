from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from hepcalib.exceptions import ConfigError, ShapeError
from hepcalib.losses import gaussian_kl


def test_initial_weight() -> None:
    mean = torch.zeros(1, dtype=torch.float64)
    log_variance = torch.full((1,), -9.0, dtype=torch.float64)
    assert float(gaussian_kl(mean, log_variance, 1.0)) == pytest.approx(
        (math.exp(-9) + 9 - 1) / 2, rel=1e-14
    )
    assert float(gaussian_kl(mean, log_variance, 1.0)) == pytest.approx(4.0000617, abs=5e-8)


def test_network_at_initialisation() -> None:
    generator = torch.Generator().manual_seed(1)
    widths = (15, 256, 168, 64, 8, 9)
    layers = list(itertools.pairwise(widths))
    assert sum(n_in * n_out for n_in, n_out in layers) == 58_184
    total = 0.0
    for n_in, n_out in layers:
        mean = torch.randn(n_out, n_in, generator=generator) / math.sqrt(n_in)
        total += float(gaussian_kl(mean, torch.full_like(mean, -9.0), 1.0))
    # the sum of mu^2 / 2 has variance sum over layers of n_out / (2 n_in): 8.4
    spread = math.sqrt(sum(n_out / n_in / 2 for n_in, n_out in layers))
    assert total == pytest.approx(232_992, abs=5 * spread)
    assert total / 600_000 == pytest.approx(0.3883, abs=5e-5)


@pytest.mark.parametrize("tau", [0.01, 1.0, 7.0])
def test_equals_the_sum_over_weights(tau: float) -> None:
    generator = torch.Generator().manual_seed(2)
    mean, log_variance = torch.randn(2, 5, 3, generator=generator, dtype=torch.float64)
    expected = kl_divergence(
        Normal(mean, torch.exp(log_variance / 2)),
        Normal(torch.zeros_like(mean), torch.full_like(mean, tau**-0.5)),
    ).sum()
    torch.testing.assert_close(gaussian_kl(mean, log_variance, tau), expected, rtol=1e-12, atol=0)


def test_gradients() -> None:
    generator = torch.Generator().manual_seed(3)
    mean, log_variance = torch.randn(2, 4, 6, generator=generator, dtype=torch.float64)
    mean.requires_grad_()
    log_variance.requires_grad_()
    gradients = torch.autograd.grad(gaussian_kl(mean, log_variance, 3.0), (mean, log_variance))
    expected = (3.0 * mean.detach(), (3.0 * log_variance.detach().exp() - 1) / 2)
    torch.testing.assert_close(gradients, expected, rtol=1e-12, atol=1e-14)


def test_vanishes_at_the_prior_only() -> None:
    zeros = torch.zeros(1000)
    assert float(gaussian_kl(zeros, zeros, 1.0)) == 0.0
    assert float(gaussian_kl(zeros, zeros - math.log(4.0), 4.0)) == pytest.approx(0.0, abs=1e-9)
    assert float(gaussian_kl(zeros, zeros + 0.1, 1.0)) > 2.0
    # a float32 posterior next to the prior: u^2 / 4 per weight, not rounding noise
    assert float(gaussian_kl(zeros, zeros + 1e-3, 1.0)) == pytest.approx(2.5e-4, rel=1e-2)


@pytest.mark.parametrize("precision", [0.0, -1.0, math.nan, math.inf])
def test_bad_precision(precision: float) -> None:
    with pytest.raises(ConfigError, match="prior_precision"):
        gaussian_kl(torch.zeros(2), torch.zeros(2), precision)


def test_shapes_must_agree() -> None:
    with pytest.raises(ShapeError, match=r"\(2,\).*\(2, 1\)"):
        gaussian_kl(torch.zeros(2), torch.zeros(2, 1), 1.0)
