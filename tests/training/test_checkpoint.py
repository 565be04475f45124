"""A training that was interrupted ends as one that was not."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import torch

from hepcalib.batch import Batch
from hepcalib.exceptions import TrainingError
from hepcalib.models import (
    MLP,
    PFN,
    Bayesian,
    BernoulliHead,
    Conformal,
    DeepEnsemble,
    Dropout,
    Laplace,
    MixtureHead,
    NormalHead,
    RepulsiveEnsemble,
)
from hepcalib.ragged import Ragged
from hepcalib.training import Checkpoint, Examples, History, PenaltyOptions, TrainingOptions, train

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor

    from hepcalib.models import Model
    from hepcalib.training.state import State

EPOCHS, ROWS, BATCH = 4, 60, 20
STEPS = EPOCHS * ROWS // BATCH
BASE: dict[str, Any] = {
    "epochs": EPOCHS,
    "batch_size": BATCH,
    "learning_rate": 0.02,
    "device": "cpu",
    "threads": 1,
}


class InterruptedHereError(Exception):
    """The end of a process."""


class Interrupting(Checkpoint):
    """A checkpoint of every step, at one of which the training is interrupted."""

    def __init__(self, path: Path, *, after: int) -> None:
        super().__init__(path, every=0.0)
        self.left = after

    def keep(self, state: State) -> None:
        super().keep(state)
        self.left -= 1
        if self.left == 0:
            raise InterruptedHereError


class Case(NamedTuple):
    """A model and how it is trained."""

    model: Callable[[], Model]
    options: TrainingOptions = TrainingOptions(**BASE)


def mlp(head: Any = None) -> MLP:
    return MLP(features=2, hidden=(8,), head=head or MixtureHead(components=2))


def pfn() -> PFN:
    return PFN(constituents=2, features=2, phi=(8,), f=(8,), head=NormalHead())


def tagger() -> MLP:
    return mlp(BernoulliHead())


def penalised(name: str, **options: Any) -> TrainingOptions:
    return TrainingOptions(**BASE, penalty=PenaltyOptions(name=name, **options))


CASES = {
    "plain": Case(mlp),
    "cosine, clipped": Case(
        mlp, TrainingOptions(**BASE, schedule="cosine", gradient_clip=0.1, weight_decay=0.1)
    ),
    "several passes": Case(mlp, TrainingOptions(**BASE, min_steps=2 * STEPS)),
    "last": Case(mlp, TrainingOptions(**BASE, keep="last")),
    "patience": Case(mlp, TrainingOptions(**{**BASE, "epochs": 40}, patience=2)),
    "constituents": Case(pfn),
    "Bayesian": Case(lambda: Bayesian(mlp())),
    "dropout": Case(lambda: Dropout(mlp(), rate=0.3)),
    "deep ensemble": Case(lambda: DeepEnsemble(mlp(), members=3)),
    "repulsive ensemble": Case(lambda: RepulsiveEnsemble(mlp(), members=3)),
    "Laplace": Case(lambda: Laplace(mlp())),
    "conformal": Case(lambda: Conformal(mlp())),
    "penalty": Case(tagger, penalised("distance_correlation", strength=1.0, warmup_epochs=2)),
    "constraint": Case(tagger, penalised("distance_correlation", at_most=0.05)),
    "adversary": Case(tagger, penalised("adversary", strength=1.0, pretraining_epochs=1)),
}


def examples(seed: int) -> Examples:
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(ROWS, 2, generator=random)
    counts = torch.randint(0, 5, (ROWS,), generator=random)
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
    values = torch.randn(int(offsets[-1]), 2, generator=random)
    target = (torch.arange(ROWS) % 2).float()
    return Examples(
        Batch(features=x, constituents=Ragged(values, offsets)),
        target,
        weight=torch.rand(ROWS, generator=random),
        nuisance=x[:, 0],
        background=target == 0,
    )


def fitted(
    case: Case, checkpoint: Checkpoint | None = None, **changes: Any
) -> tuple[dict[str, Tensor], History]:
    torch.manual_seed(5)
    model = case.model()
    samples = {"examples": examples(1), "validation": examples(2), "options": case.options}
    history = train(model, **{**samples, **changes}, checkpoint=checkpoint)
    return model.state_dict(), history


def differing(one: dict[str, Tensor], other: dict[str, Tensor]) -> list[str]:
    assert one.keys() == other.keys()
    return [name for name, value in one.items() if not torch.equal(value, other[name])]


@pytest.mark.parametrize("after", [1, 3, 5, STEPS])  # within an epoch, at its end, at the last step
@pytest.mark.parametrize("name", CASES)
def test_it_ends_in_the_same_weights(name: str, after: int, tmp_path: Path) -> None:
    case, path = CASES[name], tmp_path / "state" / "training.pt"
    expected, epochs = fitted(case)
    with pytest.raises(InterruptedHereError):
        fitted(case, Interrupting(path, after=after))
    found, history = fitted(case, Checkpoint(path))
    assert history == epochs
    assert differing(found, expected) == []
    assert [file.name for file in path.parent.iterdir()] == ["training.pt"]


def test_it_can_be_interrupted_again_and_again(tmp_path: Path) -> None:
    case, path = CASES["dropout"], tmp_path / "training.pt"
    for _ in range(STEPS):
        with pytest.raises(InterruptedHereError):
            fitted(case, Interrupting(path, after=1))
    steps = Interrupting(path, after=1)
    found, history = fitted(case, steps)
    assert steps.left == 1  # nothing was left to do
    expected, epochs = fitted(case)
    assert history == epochs
    assert differing(found, expected) == []


@pytest.mark.parametrize(
    ("part", "name"),
    [("random", "dropout"), ("order", "plain"), ("descent", "plain"), ("penalty", "adversary")],
)
def test_no_part_of_the_state_can_be_missing(part: str, name: str, tmp_path: Path) -> None:
    """The control: with that part of another step, the training ends elsewhere."""
    case, path = CASES[name], tmp_path / "training.pt"
    states = []
    for after in (4, 8):
        path.unlink(missing_ok=True)
        with pytest.raises(InterruptedHereError):
            fitted(case, Interrupting(path, after=after))
        states.append(torch.load(path, weights_only=True))
    early, late = states
    late["state"][part] = early["state"][part]
    torch.save(late, path)
    found, _ = fitted(case, Checkpoint(path))
    assert differing(found, fitted(case)[0])


def test_a_training_that_has_ended_is_not_repeated(tmp_path: Path) -> None:
    case, path = CASES["patience"], tmp_path / "training.pt"
    expected, epochs = fitted(case, Checkpoint(path, every=0.0))
    assert len(epochs) < 40
    seen: list[tuple[int, int]] = []
    found, history = fitted(case, Checkpoint(path), progress=lambda *done: seen.append(done))
    assert differing(found, expected) == []
    assert history == epochs
    # The last step was written before the last validation, which is therefore done again.
    assert seen == [(len(epochs), 40)]


def test_the_epochs_that_are_left_are_reported(tmp_path: Path) -> None:
    case, path = CASES["plain"], tmp_path / "training.pt"
    with pytest.raises(InterruptedHereError):
        fitted(case, Interrupting(path, after=5))
    seen: list[tuple[int, int]] = []
    fitted(case, Checkpoint(path), progress=lambda *done: seen.append(done))
    assert seen == [(2, 4), (3, 4), (4, 4)]


def test_it_is_written_from_time_to_time_only(tmp_path: Path) -> None:
    case = CASES["plain"]
    rarely, always = (Checkpoint(tmp_path / f"{s}.pt", every=s) for s in (math.inf, 0.0))
    fitted(case, rarely)
    assert not rarely.path.exists()
    rarely.remove()
    fitted(case, always)
    assert always.path.exists()
    always.remove()
    assert not always.path.exists()


@pytest.mark.parametrize(
    "change",
    [
        {"options": TrainingOptions(**{**BASE, "learning_rate": 0.01})},
        {"examples": examples(3)},
        {"validation": examples(3)},
        {"examples": examples(1)._replace(weight=None)},
        {"examples": examples(1)._replace(nuisance=None)},
        {"examples": examples(1)._replace(batch=Batch(features=examples(1).batch.features))},
    ],
)
def test_another_training_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "training.pt"
    fitted(CASES["plain"], Checkpoint(path, every=0.0))
    with pytest.raises(TrainingError, match=r"training\.pt is the state of another training"):
        fitted(CASES["plain"], Checkpoint(path), **change)


def test_other_weights_at_the_start_are_refused(tmp_path: Path) -> None:
    case, path = CASES["plain"], tmp_path / "training.pt"
    fitted(case, Checkpoint(path, every=0.0))
    torch.manual_seed(6)
    with pytest.raises(TrainingError, match="weights at the start"):
        train(
            case.model(),
            examples(1),
            validation=examples(2),
            options=case.options,
            checkpoint=Checkpoint(path),
        )


def test_threads_may_differ(tmp_path: Path) -> None:
    case, path = CASES["plain"], tmp_path / "training.pt"
    with pytest.raises(InterruptedHereError):
        fitted(case, Interrupting(path, after=5))
    _, history = fitted(
        case, Checkpoint(path), options=TrainingOptions(**{**BASE, "threads": None})
    )
    assert len(history) == EPOCHS


@pytest.mark.parametrize("content", [b"", b"not a state", None, {"of": "it"}, [1], {"state": 1}])
def test_a_damaged_file_is_refused(content: Any, tmp_path: Path) -> None:
    path = tmp_path / "training.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is None:
        fitted(CASES["plain"], Checkpoint(path, every=0.0))
        path.write_bytes(path.read_bytes()[:-100])
    else:
        torch.save(content, path)
    with pytest.raises(TrainingError, match=r"training\.pt is .* remove it"):
        fitted(CASES["plain"], Checkpoint(path))


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TrainingError, match=r"file/training\.pt: .* cannot be written"):
        fitted(CASES["plain"], Checkpoint(tmp_path / "file" / "training.pt", every=0.0))
