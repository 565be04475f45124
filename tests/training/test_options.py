from __future__ import annotations

import pickle
from itertools import pairwise
from typing import Any

import pytest

from hepcalib.exceptions import ConfigError
from hepcalib.training import PenaltyOptions, TrainingOptions
from hepcalib.training.options import SCHEDULES, learning_rate_factor

DISCO = PenaltyOptions(
    name="distance_correlation", strength=10.0, pretraining_epochs=2, warmup_epochs=3
)


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"epochs": 0}, "epochs is 0; needed: at least 1"),
        ({"batch_size": -1}, "batch_size is -1"),
        ({"min_steps": -1}, "min_steps is -1; needed: at least 0"),
        ({"min_steps": float("inf")}, "min_steps is inf; needed: at least 0 and finite"),
        ({"patience": 0}, "patience is 0"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0; needed: positive"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"gradient_clip": float("inf")}, "gradient_clip is inf"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1; needed: at least 0"),
        ({"schedule": "cosin"}, "Did you mean 'cosine'"),
        ({"keep": "first"}, "unknown keep 'first'. Known: best, last"),
        ({"keep": "last", "patience": 3}, "patience is 3 with keep 'last'"),
        ({"device": "gpu"}, "unknown device 'gpu'"),
        (
            {"penalty": DISCO, "epochs": 5},
            "2 pretraining_epochs and 3 warmup_epochs of 5 epochs",
        ),
    ],
)
def test_impossible_options_are_refused(keywords: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainingOptions(**keywords)


@pytest.mark.parametrize(
    ("epochs", "warmup", "given", "expected"),
    [
        (20, 0, None, 1),
        (21, 5, None, 2),
        (60, 20, None, 3),
        (5, 3, None, 1),
        (5, 4, None, 0),  # the warm-up leaves no room
        (1, 0, None, 0),
        (60, 20, 0, 0),
        (60, 20, 7, 7),
    ],
)
def test_a_penalty_waits_for_a_separation(
    epochs: int, warmup: int, given: int | None, expected: int
) -> None:
    penalty = PenaltyOptions(
        name="distance_correlation",
        strength=1.0,
        warmup_epochs=warmup,
        pretraining_epochs=given,
    )
    chosen = TrainingOptions(epochs=epochs, penalty=penalty).penalty
    assert chosen is not None
    assert chosen.pretraining_epochs == expected
    assert chosen.ramp(epochs - 1) == 1.0
    assert [chosen.ramp(epoch) for epoch in range(expected)] == [0.0] * expected


def test_options_are_frozen_comparable_and_picklable() -> None:
    options = TrainingOptions(epochs=6, penalty=DISCO)
    assert pickle.loads(pickle.dumps(options)) == options
    with pytest.raises(AttributeError):
        options.epochs = 4  # type: ignore[misc]  # refused, as it must be


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_learning_rate_stays_in_range_and_is_continuous(schedule: str) -> None:
    factors = [learning_rate_factor(schedule, step / 1000) for step in range(1001)]
    assert max(factors) == pytest.approx(1.0)
    assert min(factors) >= 0.0
    # no step is larger than the steepest slope of a half cosine over 30 % of the training
    assert max(abs(b - a) for a, b in pairwise(factors)) < 0.0053


def test_learning_rate_at_the_ends() -> None:
    assert learning_rate_factor("one_cycle", 0.0) == pytest.approx(1 / 25)
    assert learning_rate_factor("one_cycle", 0.3) == pytest.approx(1.0)
    assert learning_rate_factor("one_cycle", 1.0) == pytest.approx(1e-4)
    assert learning_rate_factor("cosine", 0.5) == pytest.approx(0.5)
    assert learning_rate_factor("cosine", 1.0) == pytest.approx(0.0)
    assert learning_rate_factor("constant", 1.0) == 1.0
