"""A file from which an interrupted training goes on."""

from __future__ import annotations

import hashlib
import json
import os
import time
import uuid
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from hepcalib import documents
from hepcalib.exceptions import DocumentError, TrainingError
from hepcalib.models.model import described
from hepcalib.training.stored import packed, unpacked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from hepcalib.models.model import Model
    from hepcalib.training.examples import Examples
    from hepcalib.training.options import TrainingOptions
    from hepcalib.training.state import State

__all__ = ["Checkpoint", "fingerprint"]

VERSION = 2  # of what a file holds: a sha256 of the rest, and the state as safetensors
DIGEST = hashlib.sha256().digest_size


class Checkpoint:
    """Where `train` leaves its state from time to time, and finds that of an earlier call.

    A training that goes on from it ends in the same weights, bit by bit, as one that was not
    interrupted, on a CPU with the same number of threads. The file holds tensors and plain values
    only, is replaced as a whole, and stays when the training ends.

    Args:
        path: The file; its folder is made.
        every: Least time between two writings [s]; 0 writes after each step.
        of: What identifies the training; None for a digest of the model at its start, the options
            and the samples, without device and threads.
    """

    def __init__(self, path: str | Path, *, every: float = 60.0, of: str | None = None) -> None:
        self.path = Path(path)
        self.every = every
        self.of = of
        self._names: list[str | int] = []
        self._written = 0.0

    def begin(self, state: State, *, of: str) -> None:
        """Set a training to what the file holds, if there is one.

        Args:
            state: The training, at its start.
            of: What identifies it.

        Raises:
            TrainingError: if the file cannot be read, is damaged, or is that of another training.
        """
        self._names, self._written = [of, VERSION, str(torch.__version__)], time.monotonic()
        try:
            content = documents.content(self.path, limit=DIGEST + state.largest)
        except DocumentError as error:
            if error.missing:
                return
            msg = f"{self.path}: the state of the training {error}"
            raise TrainingError(msg) from error
        try:
            self._restore(state, content[:DIGEST], content[DIGEST:])
        except DocumentError as error:
            msg = (
                f"{self.path} is no state of a training, or damaged; remove it to start anew: "
                f"{error}"
            )
            raise TrainingError(msg) from error

    def keep(self, state: State) -> None:
        """Write the state of the training that has begun, if the last writing is long ago.

        Raises:
            TrainingError: if the file cannot be written.
        """
        if time.monotonic() - self._written < self.every:
            return
        stored = packed(state.state_dict(), of=self._names)
        content = hashlib.sha256(stored).digest() + stored
        try:
            self._replace(content)
        except OSError as error:
            msg = f"{self.path}: the state of the training cannot be written: {error.strerror}"
            raise TrainingError(msg) from error
        self._written = time.monotonic()

    def remove(self) -> None:
        """Remove the file, if there is one, and what an interrupted writing has left of it.

        Raises:
            TrainingError: if they cannot be removed.
        """
        try:
            for file in (self.path, *self.path.parent.glob(f".{self.path.name}-*")):
                file.unlink(missing_ok=True)
        except OSError as error:
            msg = f"{self.path}: the state of the training cannot be removed: {error.strerror}"
            raise TrainingError(msg) from error

    def _restore(self, state: State, digest: bytes, stored: bytes) -> None:
        if hashlib.sha256(stored).digest() != digest:
            msg = "its sha256 is another one"
            raise DocumentError(msg)
        of, found = unpacked(stored)
        if of != self._names:
            msg = (
                f"{self.path} is the state of another training (model, options, examples, or "
                "version of hepcalib or torch); remove it, or give another file"
            )
            raise TrainingError(msg)
        state.load_state_dict(found)

    def _replace(self, content: bytes) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.path.with_name(f".{self.path.name}-{uuid.uuid4().hex}")
        try:
            with fresh.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self.path)
        finally:
            fresh.unlink(missing_ok=True)


def fingerprint(
    model: Model, examples: Examples, validation: Examples, options: TrainingOptions
) -> str:
    """Return the sha256 of what determines a training: the model at its start, samples, options.

    Device and threads, which determine its speed and the last digits, are left out.
    """
    given = [
        described(model),
        [name for name, parameter in model.named_parameters() if parameter.requires_grad],
        repr(replace(options, device="auto", threads=None)),
    ]
    total = hashlib.sha256(json.dumps(given, sort_keys=True).encode())
    for name, tensor in _tensors(model, examples, validation):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        values = tensor.detach().cpu().contiguous().reshape(-1)
        total.update(values.view(torch.uint8).numpy().data)
    return total.hexdigest()


def _tensors(model: Model, *samples: Examples) -> Iterator[tuple[str, Tensor]]:
    yield from model.state_dict().items()
    for examples in samples:
        features, constituents = examples.batch
        yield from _given(examples._asdict() | {"batch": features})
        if constituents is not None:
            packed = constituents.packed()
            yield from _given({"values": packed.values, "offsets": packed.offsets})


def _given(parts: dict[str, Tensor | None]) -> Iterator[tuple[str, Tensor]]:
    return ((name, part) for name, part in parts.items() if part is not None)
