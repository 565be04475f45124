from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.distributions import Distribution, LogNormal, Normal

from hepcalib.exceptions import ConfigError, ShapeError
from hepcalib.models import heads
from hepcalib.models.heads import (
    BernoulliHead,
    CapsuleHead,
    Head,
    LogNormalHead,
    LogNormalMixtureHead,
    MixtureHead,
    NormalHead,
    PointHead,
)

HEADS = [
    CapsuleHead(),
    CapsuleHead(loss="likelihood"),
    NormalHead(),
    MixtureHead(),
    MixtureHead(components=1),
    LogNormalHead(),
    LogNormalMixtureHead(),
    LogNormalMixtureHead(components=1, shift=0.02, scale=3.0),
    PointHead(),
    PointHead("mse", shift=0.9, scale=0.3, relative=True),
    BernoulliHead(),
]
every = pytest.mark.parametrize("head", HEADS, ids=lambda head: f"{type(head).__name__}")


def raw_outputs(head: Head, rows: int = 50) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(rows, head.outputs, generator=generator, dtype=torch.float64)


def test_every_head_is_tested() -> None:
    assert {type(head).__name__ for head in HEADS} == {*heads.__all__} - {"Head"}


@every
def test_a_head_keeps_the_leading_dimensions_and_has_no_parameters(head: Head) -> None:
    distribution = head(raw_outputs(head, 6).reshape(2, 3, head.outputs))
    assert isinstance(distribution, Distribution)
    assert distribution.batch_shape == (2, 3)
    assert not list(head.parameters())
    again = type(head)(**head.config)
    assert (again.outputs, again.config) == (head.outputs, head.config)


@every
@pytest.mark.parametrize("value", [-500.0, 500.0])
def test_extreme_outputs_have_finite_densities_and_gradients(head: Head, value: float) -> None:
    for sign in (torch.ones(head.outputs), torch.tensor([-1.0, 1.0]).repeat(head.outputs)):
        raw = (value * sign[: head.outputs]).requires_grad_()
        distribution = head(raw)
        density = distribution.log_prob(torch.tensor(1.0))
        density.backward()
        assert density.isfinite()
        assert raw.grad is not None
        assert raw.grad.isfinite().all()
        assert distribution.mean.isfinite()
        assert distribution.variance.isfinite()


@every
def test_outputs_of_another_width_are_refused(head: Head) -> None:
    with pytest.raises(ShapeError, match=rf"needed: \(\.\.\., {head.outputs}\)"):
        head(torch.zeros(4, head.outputs + 1))


def test_nan_shows_in_the_density_and_not_as_an_error() -> None:
    for head in HEADS:
        density = head(torch.full((1, head.outputs), torch.nan)).log_prob(torch.ones(1))
        assert density.isnan().all()


def test_normal_head_takes_mean_and_log_variance() -> None:
    distribution = NormalHead()(torch.tensor([[0.3, math.log(4.0)]]))
    assert distribution.mean.item() == pytest.approx(0.3)
    assert distribution.variance.item() == pytest.approx(4.0)


@pytest.mark.parametrize("kind", [NormalHead, MixtureHead])
def test_shift_and_scale_move_the_distribution(kind: type[NormalHead | MixtureHead]) -> None:
    raw = raw_outputs(kind())
    plain, moved = kind()(raw), kind(shift=-0.3, scale=0.2)(raw)
    torch.testing.assert_close(moved.mean, -0.3 + 0.2 * plain.mean, atol=1e-12, rtol=0)
    torch.testing.assert_close(moved.variance, 0.2**2 * plain.variance, atol=1e-12, rtol=0)
    y = torch.linspace(-2.0, 2.0, len(raw), dtype=torch.float64)
    density = plain.log_prob(y) - math.log(0.2)
    torch.testing.assert_close(moved.log_prob(-0.3 + 0.2 * y), density, atol=1e-10, rtol=0)


@pytest.mark.parametrize(
    "wrong", [{"scale": 0.0}, {"scale": -1.0}, {"scale": math.inf}, {"shift": math.nan}]
)
def test_impossible_shift_and_scale_are_refused(wrong: dict[str, Any]) -> None:
    for kind in (NormalHead, MixtureHead, LogNormalHead, LogNormalMixtureHead, PointHead):
        with pytest.raises(ConfigError, match="needed: finite, scale > 0"):
            kind(**wrong)


def test_mixture_density_is_that_of_a_loop() -> None:
    head = MixtureHead(components=3)
    raw = raw_outputs(head)
    target = torch.linspace(-2.0, 2.0, len(raw), dtype=torch.float64)
    expected = []
    for row, y in zip(raw.tolist(), target.tolist(), strict=True):
        means, log_variances, logits = row[:3], row[3:6], row[6:]
        norm = sum(math.exp(a) for a in logits)
        terms = [
            math.exp(a - (y - m) ** 2 / (2 * math.exp(v)) - v / 2) / (norm * math.sqrt(2 * math.pi))
            for m, v, a in zip(means, log_variances, logits, strict=True)
        ]
        expected.append(math.log(sum(terms)))
    torch.testing.assert_close(
        head(raw).log_prob(target), torch.tensor(expected, dtype=torch.float64), atol=1e-10, rtol=0
    )


def test_a_mixture_of_one_component_is_normal() -> None:
    raw, target = raw_outputs(MixtureHead(components=1)), torch.zeros(50, dtype=torch.float64)
    mixture, normal = MixtureHead(components=1)(raw), NormalHead()(raw[:, :2])
    torch.testing.assert_close(
        mixture.log_prob(target), normal.log_prob(target), atol=1e-10, rtol=0
    )


def test_mixture_of_log10_is_a_mixture_of_log_normals() -> None:
    # NLL_R = NLL_L + E[ln R] + ln ln 10, for each value of R
    raw = raw_outputs(MixtureHead(components=2))
    distribution = MixtureHead(components=2)(raw)
    response = torch.linspace(0.2, 5.0, len(raw), dtype=torch.float64)
    parts: Normal = distribution.component_distribution
    log_normal = LogNormal(math.log(10) * parts.loc, math.log(10) * parts.scale)
    weights = distribution.mixture_distribution.logits
    components = log_normal.log_prob(response.unsqueeze(-1))  # type: ignore[no-untyped-call]  # torch does not annotate it
    density = torch.logsumexp(weights + components, -1)
    shift = distribution.log_prob(response.log10()) - density
    torch.testing.assert_close(shift, response.log() + 0.834032, atol=1e-6, rtol=0)


def test_bernoulli_head_takes_a_logit() -> None:
    distribution = BernoulliHead()(torch.tensor([[0.0], [math.log(3.0)]]))
    assert distribution.mean.tolist() == pytest.approx([0.5, 0.75])


@pytest.mark.parametrize("kind", [MixtureHead, LogNormalMixtureHead])
def test_no_component_is_refused(kind: type[MixtureHead | LogNormalMixtureHead]) -> None:
    with pytest.raises(ConfigError, match=f"{kind.__name__}: components is 0"):
        kind(components=0)
