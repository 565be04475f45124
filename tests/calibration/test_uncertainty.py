from __future__ import annotations

import math

import pytest
import torch
from torch.distributions import Bernoulli, Categorical, Distribution, MixtureSameFamily, Normal

from hepcalib.calibration import decompose, pooled
from hepcalib.exceptions import ConfigError, ShapeError
from hepcalib.models import BernoulliHead, MixtureHead, NormalHead

MEMBERS, ROWS = 7, 20


def members(head: MixtureHead | NormalHead | BernoulliHead) -> Distribution:
    generator = torch.Generator().manual_seed(1)
    raw = torch.randn(MEMBERS, ROWS, head.outputs, generator=generator, dtype=torch.float64)
    distribution: Distribution = head(raw)
    return distribution


@pytest.mark.parametrize("head", [NormalHead(), MixtureHead(), MixtureHead(components=1)])
def test_total_variance_is_that_of_the_pooled_mixture(head: MixtureHead | NormalHead) -> None:
    parts = decompose(members(head))
    mixture = pooled(members(head))
    torch.testing.assert_close(parts.mean, mixture.mean, rtol=0, atol=1e-10)
    torch.testing.assert_close(parts.total**2, mixture.variance, rtol=0, atol=1e-10)
    quadrature = parts.systematic**2 + parts.statistical**2
    torch.testing.assert_close(parts.total**2, quadrature, rtol=0, atol=1e-10)
    # with M - 1 in the denominator it would not be
    wrong = members(head).mean.var(0) + parts.systematic**2
    assert (wrong - mixture.variance).abs().min() > 1e-6


def test_parts_are_those_of_the_definition() -> None:
    normal = Normal(torch.tensor([[1.0], [3.0]]), torch.tensor([[3.0], [5.0]]))
    parts = decompose(normal)
    assert parts.mean.item() == 2.0
    assert parts.systematic.item() == pytest.approx(math.sqrt((9 + 25) / 2))
    assert parts.statistical.item() == pytest.approx(1.0)
    assert parts.total.item() == pytest.approx(math.sqrt(18.0))


def test_one_member_has_no_statistical_uncertainty() -> None:
    parts = decompose(Normal(torch.zeros(1, ROWS), torch.ones(1, ROWS)))
    assert parts.statistical.tolist() == [0.0] * ROWS
    assert parts.total.tolist() == [1.0] * ROWS


def test_probabilities_are_decomposed_too() -> None:
    found = decompose(members(BernoulliHead()))
    probability = members(BernoulliHead()).mean.mean(0)
    torch.testing.assert_close(found.mean, probability)
    torch.testing.assert_close(found.total**2, probability * (1 - probability))


def test_pooled_density_is_the_mean_density_of_the_members() -> None:
    y = torch.linspace(-3.0, 3.0, ROWS, dtype=torch.float64)
    density = members(MixtureHead()).log_prob(y).exp().mean(0)
    mixture: Distribution = pooled(members(MixtureHead()))
    assert mixture.batch_shape == (ROWS,)
    torch.testing.assert_close(mixture.log_prob(y).exp(), density, rtol=0, atol=1e-12)


def test_no_rows() -> None:
    empty = Normal(torch.zeros(3, 0), torch.ones(3, 0))
    assert decompose(empty).total.shape == (0,)
    assert pooled(empty).mean.shape == (0,)


@pytest.mark.parametrize("shape", [(5,), (0, 5), (2, 3, 4)])
def test_other_batch_shapes_are_refused(shape: tuple[int, ...]) -> None:
    wrong = Normal(torch.zeros(shape), torch.ones(shape))
    with pytest.raises(ShapeError, match="decompose: members of batch shape"):
        decompose(wrong)
    with pytest.raises(ShapeError, match="pooled: members of batch shape"):
        pooled(wrong)


def test_only_normal_members_can_be_pooled() -> None:
    with pytest.raises(ConfigError, match="Bernoulli"):
        pooled(Bernoulli(logits=torch.zeros(2, 3)))
    others = MixtureSameFamily(
        Categorical(logits=torch.zeros(2, 3, 4)), Bernoulli(logits=torch.zeros(2, 3, 4))
    )
    with pytest.raises(ConfigError, match="MixtureSameFamily"):
        pooled(others)
