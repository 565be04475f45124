from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.distributions import Categorical, LogNormal, MixtureSameFamily, Normal, StudentT

from hepcalib.exceptions import ConfigError
from hepcalib.models import MixtureHead
from hepcalib.models.normal_parts import normal_parts


def mixture() -> Any:
    raw = torch.randn(3, 4, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return MixtureHead(2)(raw)


def test_density_and_tails_of_a_mixture_are_those_of_torch() -> None:
    distribution, parts = mixture(), normal_parts(mixture(), where="here")
    y = torch.linspace(-2, 2, 4, dtype=torch.float64)
    below, above = parts.tails(y)
    torch.testing.assert_close(below, distribution.cdf(y))
    torch.testing.assert_close(above, 1 - distribution.cdf(y))
    nodes = y.expand(5, 3, 4)
    torch.testing.assert_close(parts.density(nodes), distribution.log_prob(nodes).exp())


def test_tails_keep_their_accuracy_far_out() -> None:
    parts = normal_parts(Normal(torch.zeros(2), 1.0), where="here")
    below, above = parts.tails(torch.tensor([20.0, -20.0]))
    assert below.tolist() == pytest.approx([1.0, 2.7536e-89], rel=1e-4)
    assert above.tolist() == pytest.approx([2.7536e-89, 1.0], rel=1e-4)


def test_parts_of_log_normal_distributions_are_those_of_the_logarithm() -> None:
    base = Normal(torch.tensor([0.1, 0.4]), torch.tensor([0.2, 0.5]))
    y = torch.tensor(1.3)
    weights = Categorical(logits=torch.tensor([0.0, 1.0]))
    found = normal_parts(
        MixtureSameFamily(weights, LogNormal(base.loc, base.scale)), where="here"
    ).tails(y)
    expected = normal_parts(MixtureSameFamily(weights, base), where="here").tails(y.log())
    torch.testing.assert_close(found, expected)


def test_other_distributions_are_refused() -> None:
    with pytest.raises(ConfigError, match="here: the model predicts StudentT; needed: Normal"):
        normal_parts(StudentT(3.0), where="here")
