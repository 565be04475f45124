"""Steps of AdamW: their direction, their rates, and where they go on."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
import torch

from hepcalib.models import MLP, PointHead
from hepcalib.training import PenaltyOptions, TrainingOptions
from hepcalib.training.descent import Descent
from hepcalib.training.objective import Objective
from hepcalib.training.penalties import Penalty

if TYPE_CHECKING:
    from torch import Tensor

    from hepcalib.training import Examples

STEPS = 10


class Learning(Penalty):
    """A penalty with a parameter of its own."""

    def __init__(self, options: PenaltyOptions) -> None:
        super().__init__(options)
        self.own = torch.nn.Parameter(torch.zeros(()))

    def value(self, score: Tensor, examples: Examples) -> Tensor:
        raise NotImplementedError

    def cost(self, score: Tensor, examples: Examples, *, epoch: int) -> tuple[Tensor, Tensor]:
        raise NotImplementedError

    def criterion(self, nll: float, value: float, *, epoch: int) -> float:
        raise NotImplementedError


def objective(penalty: Penalty | None = None) -> Objective:
    torch.manual_seed(1)
    return Objective(MLP(features=1, hidden=(), head=PointHead("mse")), 100, penalty)


def values(of: Objective) -> Tensor:
    return torch.cat([parameter.detach().reshape(-1) for parameter in of.model.parameters()])


def slope(of: Objective) -> Tensor:
    """A loss whose gradient is 1 for every parameter, so that a step of Adam is its rate."""
    parts = list(of.model.parameters())
    parts += [] if of.penalty is None else list(of.penalty.parameters())
    return torch.stack([parameter.sum() for parameter in parts]).sum()


def options(**keywords: Any) -> TrainingOptions:
    return TrainingOptions(**{"learning_rate": 0.1, "schedule": "cosine", **keywords})


def test_a_step_is_the_rate_of_the_schedule_and_that_of_a_penalty_its_own() -> None:
    given = PenaltyOptions(name="distance_correlation", strength=1.0, learning_rate=0.03)
    penalty = Learning(given)
    of = objective(penalty)
    descent = Descent(of, options(penalty=given), steps=STEPS)
    for step in range(STEPS):
        before, own = values(of), penalty.own.item()
        descent.step(slope(of))
        rate = 0.1 * (1 + torch.cos(torch.tensor(torch.pi * step / STEPS)).item()) / 2
        assert (before - values(of)).tolist() == pytest.approx([rate] * len(before), abs=1e-6)
        assert own - penalty.own.item() == pytest.approx(0.03, abs=1e-6)


def test_weights_decay_and_gradients_are_clipped() -> None:
    of = objective()
    before = values(of)
    descent = Descent(of, options(weight_decay=0.5, schedule="constant"), steps=STEPS)
    descent.step(slope(of))
    assert values(of).tolist() == pytest.approx((before * (1 - 0.1 * 0.5) - 0.1).tolist(), abs=1e-6)
    clipped = Descent(of, options(gradient_clip=1e-12, schedule="constant"), steps=STEPS)
    before = values(of)
    clipped.step(slope(of))  # far below the 1e-8 that Adam adds to the root of the mean square
    assert values(of).tolist() == pytest.approx(before.tolist(), abs=1e-4)


def test_it_goes_on_from_its_state() -> None:
    one, other = objective(), objective()
    first, second = (Descent(of, options(), steps=STEPS) for of in (one, other))
    for number in range(3):
        first.step(number * slope(one))
    other.model.load_state_dict(one.model.state_dict())
    control = objective()
    control.model.load_state_dict(one.model.state_dict())
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for of, descent in (
        (one, first),
        (other, second),
        (control, Descent(control, options(), steps=STEPS)),
    ):
        descent.step(slope(of))
    assert torch.equal(values(other), values(one))
    assert not torch.equal(values(control), values(one))
