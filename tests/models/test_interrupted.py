"""The training of any model goes on after an interruption, and ends in the same weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch

from hepcalib.training import Checkpoint, Examples, History, TrainingOptions, train

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from hepcalib.training.state import State

OPTIONS = TrainingOptions(
    epochs=3, batch_size=2, learning_rate=0.01, keep="last", device="cpu", threads=1
)
STEPS = 3 * 3  # of six jets


class InterruptedHereError(Exception):
    """The end of a process."""


class Interrupting(Checkpoint):
    """Ends the training at its fifth step."""

    left = 5

    def keep(self, state: State) -> None:
        super().keep(state)
        self.left -= 1
        if self.left == 0:
            raise InterruptedHereError


def trained(example: Any, checkpoint: Checkpoint | None) -> tuple[dict[str, Tensor], History]:
    model = example.unfinished()
    labelled = example.labelled()
    sample = Examples(labelled.batch, labelled.target)
    history = train(model, sample, sample, options=OPTIONS, checkpoint=checkpoint)
    return model.state_dict(), history


def test_every_model_ends_in_the_same_weights(example: Any, tmp_path: Path) -> None:
    expected, epochs = trained(example, None)
    with pytest.raises(InterruptedHereError):
        trained(example, Interrupting(tmp_path / "training.pt", every=0.0))
    found, history = trained(example, Checkpoint(tmp_path / "training.pt"))
    assert history == epochs
    assert found.keys() == expected.keys()
    assert [name for name, value in expected.items() if not torch.equal(value, found[name])] == []
