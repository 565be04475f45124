from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor

from hepcalib.exceptions import ConfigError
from hepcalib.models.heads import LogNormalHead, LogNormalMixtureHead, MixtureHead

if TYPE_CHECKING:
    from torch.distributions import Distribution

DOUBLE = torch.float64
LN_LN_10 = 0.834032


def raw_outputs(width: int, rows: int = 50) -> Tensor:
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(3), dtype=DOUBLE)


def integral(distribution: Distribution, power: int) -> Tensor:
    """The moment of R by the trapezoidal rule in ln R, exact to rounding for smooth tails."""
    x = torch.linspace(-30.0, 30.0, 20001, dtype=DOUBLE).unsqueeze(1)
    density = distribution.log_prob(x.exp()).exp()
    return torch.trapezoid(density * (x * (power + 1)).exp(), x, dim=0)


@pytest.mark.parametrize("head", [LogNormalHead(), LogNormalMixtureHead()])
def test_density_mean_and_variance_belong_together(
    head: LogNormalHead | LogNormalMixtureHead,
) -> None:
    distribution = head(raw_outputs(head.outputs, 8) * 0.5)
    torch.testing.assert_close(integral(distribution, 0), torch.ones(8, dtype=DOUBLE))
    torch.testing.assert_close(integral(distribution, 1), distribution.mean)
    variance = integral(distribution, 2) - distribution.mean**2
    torch.testing.assert_close(variance, distribution.variance, rtol=1e-6, atol=0)


def test_mixture_density_is_that_of_a_loop() -> None:
    raw = raw_outputs(9)
    head = LogNormalMixtureHead(shift=0.9, scale=0.4)
    response = torch.linspace(0.2, 4.0, len(raw), dtype=DOUBLE)
    c2 = math.log(1 + (0.4 / 0.9) ** 2)
    b = math.log(0.9) - c2 / 2
    expected = []
    for row, y in zip(raw.tolist(), response.tolist(), strict=True):
        norm = sum(math.exp(a) for a in row[6:])
        total = 0.0
        for mean, log_variance, logit in zip(row[:3], row[3:6], row[6:], strict=True):
            variance = c2 * math.exp(log_variance)
            exponent = -((math.log(y) - b - math.sqrt(c2) * mean) ** 2) / (2 * variance)
            total += math.exp(logit + exponent) / norm / y / math.sqrt(2 * math.pi * variance)
        expected.append(math.log(total))
    found = head(raw).log_prob(response)
    torch.testing.assert_close(found, torch.tensor(expected, dtype=DOUBLE), atol=1e-10, rtol=0)


def test_a_mixture_of_one_component_is_log_normal() -> None:
    raw, response = raw_outputs(3), torch.full((50,), 0.7, dtype=DOUBLE)
    mixture, single = LogNormalMixtureHead(components=1)(raw), LogNormalHead()(raw[:, :2])
    torch.testing.assert_close(
        mixture.log_prob(response), single.log_prob(response), atol=1e-10, rtol=0
    )


def test_an_untrained_network_starts_with_the_moments_of_the_target() -> None:
    for head in (LogNormalHead(0.9, 0.35), LogNormalMixtureHead(2, 0.9, 0.35)):
        start = head(torch.zeros(1, head.outputs, dtype=DOUBLE))
        assert start.mean.item() == pytest.approx(0.9, abs=1e-12)
        assert start.stddev.item() == pytest.approx(0.35, abs=1e-12)


def test_likelihood_of_the_response_differs_from_that_of_its_logarithm_by_the_jacobian() -> None:
    # the same distribution twice: of R, and of log10 R; NLL_R - NLL_L = E[ln R] + ln ln 10
    raw = raw_outputs(9)
    head = LogNormalMixtureHead(shift=0.9, scale=0.4)
    c2 = math.log(1 + (0.4 / 0.9) ** 2)
    b = math.log(0.9) - c2 / 2
    same = MixtureHead(shift=b / math.log(10), scale=math.sqrt(c2) / math.log(10))
    response = head(raw).sample((200,))
    nll_r = -head(raw).log_prob(response).mean()
    nll_l = -same(raw).log_prob(response.log10()).mean()
    shift = response.log().mean() + LN_LN_10
    torch.testing.assert_close(nll_r - nll_l, shift, atol=1e-6, rtol=0)
    # negative control: the density without the Jacobian of the exponential
    wrong = nll_r - response.log().mean() - nll_l
    assert (wrong - shift).abs() > 0.1


def test_gradient_is_that_of_finite_differences() -> None:
    raw = raw_outputs(9, 4).requires_grad_()
    response = torch.tensor([0.3, 0.9, 1.1, 2.0], dtype=DOUBLE)
    assert torch.autograd.gradcheck(lambda x: LogNormalMixtureHead()(x).log_prob(response), (raw,))


@pytest.mark.parametrize("shift", [0.0, -1.0])
def test_a_target_around_zero_is_refused(shift: float) -> None:
    for kind in (LogNormalHead, LogNormalMixtureHead):
        with pytest.raises(ConfigError, match="the target is positive"):
            kind(shift=shift)
