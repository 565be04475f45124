"""Steps of AdamW: their direction, their rates, and where they go on."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from hepcalib.batch import Batch
from hepcalib.models import MLP, PointHead
from hepcalib.training import Examples, PenaltyOptions, TrainingOptions
from hepcalib.training.descent import Descent
from hepcalib.training.objective import Objective
from hepcalib.training.penalties import Penalty, penalty

if TYPE_CHECKING:
    from torch import Tensor

STEPS = 10


def tagging(rows: int = 40) -> Examples:
    x = torch.randn(rows, 1, generator=torch.Generator().manual_seed(2))
    target = (torch.arange(rows) % 2).float()
    return Examples(Batch(features=x), target, nuisance=x[:, 0], background=target == 0)


def objective(adversary: Penalty | None = None) -> Objective:
    torch.manual_seed(1)
    return Objective(MLP(features=1, hidden=(), head=PointHead("mse")), 100, adversary)


def values(module: nn.Module) -> Tensor:
    return torch.cat([parameter.detach().reshape(-1) for parameter in module.parameters()])


def slope(of: Objective) -> Tensor:
    """A loss whose gradient is 1 for every parameter, so that a step of Adam is its rate."""
    parts = list(of.model.parameters())
    parts += [] if of.penalty is None else list(of.penalty.parameters())
    return torch.stack([parameter.sum() for parameter in parts]).sum()


def options(**keywords: Any) -> TrainingOptions:
    return TrainingOptions(**{"learning_rate": 0.1, "schedule": "cosine", **keywords})


def test_a_step_is_the_rate_of_the_schedule_and_that_of_a_penalty_its_own() -> None:
    given = PenaltyOptions(name="adversary", strength=1.0, learning_rate=0.03)
    adversary = penalty(given, tagging())
    of = objective(adversary)
    descent = Descent(of, options(penalty=given), steps=STEPS)
    for step in range(STEPS):
        before, own = values(of.model), values(adversary)
        descent.step(slope(of))
        rate = 0.1 * (1 + torch.cos(torch.tensor(torch.pi * step / STEPS)).item()) / 2
        assert (before - values(of.model)).tolist() == pytest.approx([rate] * 2, abs=1e-6)
        assert len(own) > 2
        assert (own - values(adversary)).tolist() == pytest.approx([0.03] * len(own), abs=1e-6)


def test_weights_decay_and_gradients_are_clipped() -> None:
    of = objective()
    before = values(of.model)
    descent = Descent(of, options(weight_decay=0.5, schedule="constant"), steps=STEPS)
    descent.step(slope(of))
    assert values(of.model).tolist() == pytest.approx(
        (before * (1 - 0.1 * 0.5) - 0.1).tolist(), abs=1e-6
    )
    clipped = Descent(of, options(gradient_clip=1e-12, schedule="constant"), steps=STEPS)
    before = values(of.model)
    clipped.step(slope(of))  # far below the 1e-8 that Adam adds to the root of the mean square
    assert values(of.model).tolist() == pytest.approx(before.tolist(), abs=1e-4)


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
    assert torch.equal(values(other.model), values(one.model))
    assert not torch.equal(values(control.model), values(one.model))
