"""A training that was interrupted ends as one that was not."""

from __future__ import annotations

import errno
import hashlib
import io
import math
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
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
    PointHead,
    RepulsiveEnsemble,
)
from hepcalib.ragged import Ragged
from hepcalib.training import Checkpoint, Examples, History, PenaltyOptions, TrainingOptions, train
from hepcalib.training.checkpoint import DIGEST
from hepcalib.training.state import State
from hepcalib.training.stored import packed, unpacked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from torch import Tensor

    from hepcalib.models import Model

EPOCHS, ROWS, BATCH = 4, 60, 20
STEPS = EPOCHS * ROWS // BATCH
PARTS = {
    "model", "head", "penalty", "descent", "history", "best", "step", "means", "order", "random",
}  # fmt: skip
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
    "leak that ends": Case(lambda: mlp(PointHead(h=0.5, alpha=0.5, leak_steps=STEPS // 2))),
    "cosine, clipped": Case(
        mlp, TrainingOptions(**BASE, schedule="cosine", gradient_clip=0.1, weight_decay=0.1)
    ),
    "best in the middle": Case(
        mlp, TrainingOptions(**{**BASE, "learning_rate": 1.0, "schedule": "constant"})
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


def interrupted(case: Case, path: Path, *, after: int) -> dict[str, Any]:
    path.unlink(missing_ok=True)
    with pytest.raises(InterruptedHereError):
        fitted(case, Interrupting(path, after=after))
    of, state = unpacked(path.read_bytes()[DIGEST:])
    return {"of": of, "state": state}


def store(content: Any, path: Path) -> None:
    """Write a file that is whole, whatever it holds."""
    signed(packed(content["state"], of=content["of"]), path)


def signed(stored: bytes, path: Path) -> None:
    path.write_bytes(hashlib.sha256(stored).digest() + stored)


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
    [
        ("model", "plain"),
        ("head", "leak that ends"),
        ("penalty", "adversary"),
        ("descent", "plain"),
        ("history", "plain"),
        ("best", "best in the middle"),
        ("step", "plain"),
        ("means", "plain"),
        ("order", "plain"),
        ("random", "dropout"),
    ],
)
def test_no_part_of_the_state_can_be_missing(part: str, name: str, tmp_path: Path) -> None:
    """The control: with that part of another step, the training ends elsewhere."""
    case, path = CASES[name], tmp_path / "training.pt"
    early, late = (interrupted(case, path, after=after) for after in (2, 10))
    assert set(late["state"]) == PARTS
    late["state"][part] = early["state"][part]
    store(late, path)
    found, history = fitted(case, Checkpoint(path))
    expected, epochs = fitted(case)
    assert differing(found, expected) or history != epochs


def test_the_parts_are_those_that_were_kept(tmp_path: Path) -> None:
    """What the control changes, stored again as it was."""
    case, path = CASES["adversary"], tmp_path / "training.pt"
    store(interrupted(case, path, after=10), path)
    found, history = fitted(case, Checkpoint(path))
    expected, epochs = fitted(case)
    assert differing(found, expected) == []
    assert history == epochs


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


def frozen() -> MLP:
    model = mlp()
    next(iter(model.parameters())).requires_grad = False
    return model


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (mlp, frozen),
        (lambda: mlp(PointHead("mse")), lambda: mlp(PointHead("mae"))),
        (lambda: Dropout(mlp(), rate=0.1), lambda: Dropout(mlp(), rate=0.2)),
        (
            lambda: Bayesian(mlp(), prior_precision=1.0),
            lambda: Bayesian(mlp(), prior_precision=2.0),
        ),
    ],
)
def test_another_model_is_refused(
    one: Callable[[], Model], other: Callable[[], Model], tmp_path: Path
) -> None:
    """Although all have the same weights at the start."""
    path = tmp_path / "training.pt"
    fitted(Case(one), Checkpoint(path, every=0.0))
    with pytest.raises(TrainingError, match="state of another training"):
        fitted(Case(other), Checkpoint(path))


def test_other_weights_at_the_start_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "training.pt"
    fitted(CASES["plain"], Checkpoint(path, every=0.0))

    def other() -> Model:
        torch.manual_seed(6)
        return mlp()

    with pytest.raises(TrainingError, match="state of another training"):
        fitted(Case(other), Checkpoint(path))


def test_rows_held_in_another_way_are_the_same(tmp_path: Path) -> None:
    case, path = CASES["constituents"], tmp_path / "training.pt"
    fitted(case, Checkpoint(path, every=0.0))
    sample = examples(1)
    assert sample.batch.constituents is not None
    values = torch.cat([torch.ones(3, 2), sample.batch.constituents.values, torch.ones(1, 2)])
    shifted = Ragged(values, sample.batch.constituents.offsets + 3)
    batch = sample.batch._replace(constituents=shifted)
    _, history = fitted(case, Checkpoint(path), examples=sample._replace(batch=batch))
    assert len(history) == EPOCHS


def test_a_training_may_have_a_name(tmp_path: Path) -> None:
    """Then that alone identifies it."""
    path = tmp_path / "training.pt"
    fitted(CASES["plain"], Checkpoint(path, every=0.0, of="this"))
    with pytest.raises(TrainingError, match="state of another training"):
        fitted(CASES["plain"], Checkpoint(path, of="that"))
    _, history = fitted(CASES["plain"], Checkpoint(path, of="this"), examples=examples(3))
    assert len(history) == EPOCHS


def test_threads_may_differ(tmp_path: Path) -> None:
    case, path = CASES["plain"], tmp_path / "training.pt"
    with pytest.raises(InterruptedHereError):
        fitted(case, Interrupting(path, after=5))
    _, history = fitted(
        case, Checkpoint(path), options=TrainingOptions(**{**BASE, "threads": None})
    )
    assert len(history) == EPOCHS


def test_another_version_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "training.pt"
    fitted(CASES["plain"], Checkpoint(path, every=0.0))
    monkeypatch.setattr(torch, "__version__", "1.0")
    with pytest.raises(TrainingError, match="version of hepcalib or torch"):
        fitted(CASES["plain"], Checkpoint(path))


@pytest.mark.parametrize("seen", [None, torch.arange(16, dtype=torch.uint8)])
def test_the_generator_of_a_gpu_goes_on_if_there_was_one(
    seen: Tensor | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, path = CASES["dropout"], tmp_path / "training.pt"
    content = interrupted(case, path, after=5)
    assert set(content["state"]["random"]) == {"cpu"}
    content["state"]["random"] |= {} if seen is None else {"cuda": seen}
    store(content, path)
    restored: list[Tensor] = []
    monkeypatch.setattr(State, "_on_cuda", property(lambda _: True))
    monkeypatch.setattr(torch.cuda, "set_rng_state", restored.append)
    fitted(case, Checkpoint(path))
    assert [state.tolist() for state in restored] == ([] if seen is None else [seen.tolist()])


def test_any_bytes_of_a_hostile_writer_are_refused(tmp_path: Path) -> None:
    """With the digest that belongs to them; a seeded loop of changes to the state and its notes."""
    case, path = CASES["adversary"], tmp_path / "training.pt"
    content = interrupted(case, path, after=5)
    whole, random = path.read_bytes()[DIGEST:], np.random.default_rng(8)
    for changed in hostile(content):
        store(changed, path)
        with pytest.raises(TrainingError, match=r"training\.pt is no state of a training"):
            fitted(case, Checkpoint(path))
    size = DIGEST + int.from_bytes(whole[:8], "little")
    for number in range(60):
        damaged = bytearray(whole)
        for place in random.integers(0, size, 1 + number % 3):
            damaged[place] = random.integers(256)
        signed(bytes(damaged[: None if number % 4 else int(random.integers(len(whole)))]), path)
        with suppress(TrainingError):  # and no other error
            fitted(case, Checkpoint(path))


def hostile(content: dict[str, Any]) -> Iterator[dict[str, Any]]:
    changes: list[tuple[str, str, Any]] = [
        ("step", "taken", STEPS),
        ("step", "taken", -1),
        ("step", "taken", True),
        ("head", "steps", "many"),
        ("history", "epochs", 5),
        ("history", "epochs", [[1.0] * 8] * 9),
        ("history", "epochs", [["a"] * 8]),
        ("history", "epochs", [[2, *[0.0] * 7]]),
        ("means", "nll", None),
        ("order", "generator", torch.zeros(3, dtype=torch.uint8)),
        ("random", "cpu", torch.zeros(5056, dtype=torch.uint8)),
        ("descent", "taken", 10**9),
        ("descent", "0.exp_avg", torch.zeros(1)),
        ("descent", "9999.exp_avg", torch.zeros(1)),
        ("model", "more", torch.zeros(1)),
        ("best", "more", torch.zeros(1)),
        ("penalty", "more", torch.zeros(1)),
    ]
    for part, name, value in changes:
        state = {**content["state"], part: {**content["state"][part], name: value}}
        yield {**content, "state": state}
    for part in PARTS:
        yield {**content, "state": {**content["state"], part: {}}}


@pytest.mark.parametrize("make", [lambda path: path.symlink_to("/dev/zero"), os.mkfifo])
def test_what_is_no_regular_file_is_refused(make: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "training.pt"
    make(path)
    with pytest.raises(TrainingError, match=r"training\.pt: .* cannot be read: it is a device"):
        fitted(CASES["plain"], Checkpoint(path))


def test_a_file_that_is_too_large_for_the_training_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "training.pt"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # a hole
    with pytest.raises(TrainingError, match=r"training\.pt: .* is larger than"):
        fitted(CASES["plain"], Checkpoint(path))


def test_a_pickle_is_refused_and_never_run(tmp_path: Path) -> None:
    path = tmp_path / "training.pt"
    stored = io.BytesIO()
    torch.save({"of": [], "state": {}}, stored)
    signed(stored.getvalue(), path)
    with pytest.raises(TrainingError, match="is no state of a training"):
        fitted(CASES["plain"], Checkpoint(path))


@pytest.mark.parametrize("damage", [b"", b"no state", "cut", "flipped"])
def test_a_damaged_file_is_refused(damage: bytes | str, tmp_path: Path) -> None:
    path = tmp_path / "training.pt"
    fitted(CASES["plain"], Checkpoint(path, every=0.0))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    given = {"cut": path.read_bytes()[:-100], "flipped": bytes(content)}
    path.write_bytes(damage if isinstance(damage, bytes) else given[damage])
    with pytest.raises(TrainingError, match=r"training\.pt is no state of a training, or damaged"):
        fitted(CASES["plain"], Checkpoint(path))


def test_a_file_that_cannot_be_read_written_or_removed_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "training.pt"
    folder.mkdir()
    with pytest.raises(TrainingError, match=r"training\.pt: .* cannot be read: Is a directory"):
        fitted(CASES["plain"], Checkpoint(folder))
    with pytest.raises(TrainingError, match=r"training\.pt: .* cannot be removed"):
        Checkpoint(folder).remove()
    (tmp_path / "file").touch()
    nowhere = Checkpoint(tmp_path / "file" / "training.pt", every=0.0)
    with pytest.raises(
        TrainingError, match=r"file/training\.pt: .* cannot be read: Not a directory"
    ):
        fitted(CASES["plain"], nowhere)


def test_a_failed_writing_leaves_the_last_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, path = CASES["plain"], tmp_path / "training.pt"
    interrupted(case, path, after=5)
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(TrainingError, match=r"training\.pt: .* cannot be written: No space"):
            fitted(case, Checkpoint(path, every=0.0))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    found, _ = fitted(case, Checkpoint(path))
    assert differing(found, fitted(case)[0]) == []


def test_others_may_read_it_as_far_as_the_umask_allows(tmp_path: Path) -> None:
    kept = Checkpoint(tmp_path / "training.pt", every=0.0)
    fitted(CASES["plain"], kept)
    (tmp_path / "plain").touch()
    assert kept.path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_what_a_killed_writing_left_is_removed(tmp_path: Path) -> None:
    kept = Checkpoint(tmp_path / "training.pt", every=0.0)
    fitted(CASES["plain"], kept)
    (tmp_path / ".training.pt-abc").touch()
    other = tmp_path / ".other.pt-abc"
    other.touch()
    kept.remove()
    assert list(tmp_path.iterdir()) == [other]
