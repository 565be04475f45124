"""Processes on one machine that share a GPU take turns, so that its memory suffices for each."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

import torch

from hepcalib.exceptions import ConfigError

try:
    import fcntl
except ImportError:  # Windows: no locks, hence no turns
    fcntl = None  # type: ignore[assignment]  # the module, where there is one

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Sharing"]


@dataclass(frozen=True)
class Sharing:
    """How many processes of a user may compute on one GPU at the same time; small and picklable.

    The places are files that are locked while they are taken. The system unlocks them when a
    process ends, in whatever way, so that a killed worker blocks nobody.

    Args:
        users: Processes that may compute at the same time.
        folder: Where the files are; None is a folder for this user among the temporary files of
            the machine. It has to be on the machine itself.

    Raises:
        ConfigError: if there is no place.
    """

    users: int = 1
    folder: str | None = None

    def __post_init__(self) -> None:
        if self.users < 1:
            msg = f"users is {self.users}; needed: at least 1"
            raise ConfigError(msg)

    @contextmanager
    def turn(self, device: torch.device) -> Iterator[None]:
        """Wait for a place at the GPU and keep it in the block; the CPU has places for all."""
        if device.type != "cuda" or fcntl is None:
            yield
            return
        with self.place(str(torch.cuda.get_device_properties(device).uuid)):
            yield

    @contextmanager
    def place(self, name: str) -> Iterator[int]:
        """Wait for one of the places of this name and keep it in the block.

        Yields:
            The number of the place, from 0.
        """
        folder = Path(self.folder or Path(tempfile.gettempdir()) / f"hepcalib-{os.getuid()}")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        files = [(folder / f"{name}-{number}.lock").open("a") for number in range(self.users)]
        try:
            yield _taken(files)
        finally:
            for file in files:
                file.close()


def _taken(files: Sequence[IO[str]]) -> int:
    """Lock a free file, or wait for the one that the number of the process falls on."""
    for number, file in enumerate(files):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        return number
    number = os.getpid() % len(files)
    fcntl.flock(files[number], fcntl.LOCK_EX)
    return number
