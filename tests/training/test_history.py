from __future__ import annotations

import json

from hepcalib.training import Epoch, History


def epoch(number: int, *, strength: float, criterion: float) -> Epoch:
    return Epoch(
        epoch=number,
        train_nll=0.0,
        regulariser=0.0,
        penalty=0.0,
        validation_nll=0.0,
        validation_penalty=0.0,
        strength=strength,
        criterion=criterion,
    )


def test_best_is_the_first_smallest_criterion_at_full_strength() -> None:
    history = History(
        epoch(number, strength=strength, criterion=criterion)
        for number, (strength, criterion) in enumerate(
            [(5.0, 0.1), (10.0, 0.5), (10.0, 0.3), (10.0, 0.3)], start=1
        )
    )
    assert history.best.epoch == 3


def test_history_is_a_tuple_of_named_figures() -> None:
    history = History([epoch(1, strength=0.0, criterion=2.0)])
    assert isinstance(history, tuple)
    assert json.loads(json.dumps([item._asdict() for item in history]))[0]["criterion"] == 2.0
