"""A file from which an interrupted training goes on."""

from __future__ import annotations

import hashlib
import pickle
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from hepcalib.exceptions import TrainingError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from hepcalib.models.model import Model
    from hepcalib.training.examples import Examples
    from hepcalib.training.options import TrainingOptions
    from hepcalib.training.state import State

__all__ = ["Checkpoint", "fingerprint"]

# What torch raises for a file that is cut off, or was never its own.
UNREADABLE = (OSError, EOFError, RuntimeError, LookupError, TypeError, pickle.UnpicklingError)


class Checkpoint:
    """Where `train` leaves its state from time to time, and finds that of an earlier call.

    A training that goes on from it ends in the same weights, bit by bit, as one that was not
    interrupted, on a CPU with the same number of threads. The file holds tensors and plain values
    only, is replaced as a whole, and stays when the training ends.

    Args:
        path: The file; its folder is made.
        every: Least time between two writings [s]; 0 writes after each step.
    """

    def __init__(self, path: str | Path, *, every: float = 60.0) -> None:
        self.path = Path(path)
        self.every = every
        self._of = ""
        self._written = 0.0

    def begin(self, state: State, *, of: str) -> None:
        """Set a training to what the file holds, if there is one.

        Args:
            state: The training, at its start.
            of: What identifies it, from `fingerprint`.

        Raises:
            TrainingError: if the file cannot be read, or is that of another training.
        """
        self._of, self._written = of, time.monotonic()
        if not self.path.exists():
            return
        try:
            found = torch.load(self.path, map_location="cpu", weights_only=True)
            known = found["of"]
        except UNREADABLE as error:
            why = type(error).__name__  # torch advises to trust the file, over several lines
            msg = f"{self.path} is not the state of a training ({why}); remove it to start anew"
            raise TrainingError(msg) from error
        if known != of:
            msg = (
                f"{self.path} is the state of another training (other options, examples or "
                "weights at the start); remove it, or give another file"
            )
            raise TrainingError(msg)
        state.load_state_dict(found["state"])

    def keep(self, state: State) -> None:
        """Write the state of the training that has begun, if the last writing is long ago.

        Raises:
            TrainingError: if the file cannot be written.
        """
        if time.monotonic() - self._written < self.every:
            return
        try:
            self._write({"of": self._of, "state": state.state_dict()})
        except (OSError, RuntimeError) as error:
            msg = f"{self.path}: the state of the training cannot be written: {error}"
            raise TrainingError(msg) from error
        self._written = time.monotonic()

    def _write(self, content: dict[str, Any]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        prefix = f".{self.path.name}-"
        with tempfile.TemporaryDirectory(prefix=prefix, dir=self.path.parent) as folder:
            fresh = Path(folder) / self.path.name
            torch.save(content, fresh)
            fresh.replace(self.path)

    def remove(self) -> None:
        """Remove the file, if there is one."""
        self.path.unlink(missing_ok=True)


def fingerprint(
    model: Model, examples: Examples, validation: Examples, options: TrainingOptions
) -> str:
    """Return the sha256 of what determines a training: start, samples and options.

    Device and threads, which determine its speed and the last digits, are left out.
    """
    total = hashlib.sha256(repr(replace(options, device="auto", threads=None)).encode())
    for name, tensor in _parts(model, examples, validation):
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.detach().cpu().numpy().tobytes())
    return total.hexdigest()


def _parts(model: Model, *samples: Examples) -> Iterator[tuple[str, Tensor]]:
    yield from model.state_dict().items()
    for examples in samples:
        features, constituents = examples.batch
        given: dict[str, Any] = {**examples._asdict(), "batch": features}
        if constituents is not None:
            given |= {"values": constituents.values, "offsets": constituents.offsets}
        yield from ((name, part) for name, part in given.items() if part is not None)
