from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily

from hepcalib.losses import nll
from hepcalib.losses.point import Point


def squared(value: Tensor, target: Tensor) -> Tensor:
    return (value - target) ** 2


def test_likelihood_is_the_loss() -> None:
    point = Point(torch.tensor([1.0, 2.0]), squared)
    assert nll(point, torch.tensor([2.0, 4.0])).item() == (1.0 + 4.0) / 2
    assert Point(torch.zeros(3, 2), squared).log_prob(torch.ones(2)).shape == (3, 2)


def test_all_statistics_are_the_value() -> None:
    value = torch.tensor([[1.0, 2.0]])
    point = Point(value, squared)
    assert torch.equal(point.mean, value)
    assert torch.equal(point.mode, value)
    assert torch.equal(point.sample((5,)), value.expand(5, 1, 2))
    assert point.stddev.tolist() == [[0.0, 0.0]]
    assert point.expand((4, 2)).batch_shape == (4, 2)


def test_points_can_be_mixed() -> None:
    mixture = MixtureSameFamily(
        Categorical(logits=torch.zeros(1, 2)),
        Point(torch.tensor([[1.0, 3.0]]), squared),
        validate_args=False,
    )
    assert mixture.mean.item() == 2.0
    assert mixture.variance.item() == 1.0
