"""Where a computation runs: the device, and how many CPU threads it may take."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from hepcalib.exceptions import ConfigError, suggestion

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["DEVICES", "resolve_device", "set_threads", "thread_count"]

DEVICES = ("auto", "cpu", "cuda")


def resolve_device(name: str) -> torch.device:
    """Return the device of a name; "auto" is the GPU where there is one.

    Raises:
        ConfigError: if the name is unknown, or cuda is asked for and there is none.
    """
    if name not in DEVICES:
        msg = f"unknown device '{name}'. {suggestion(name, DEVICES)}"
        raise ConfigError(msg)
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        msg = "device 'cuda': this process sees no GPU; use 'cpu' or 'auto'"
        raise ConfigError(msg)
    return torch.device("cuda" if available and name != "cpu" else "cpu")


def set_threads(threads: int) -> None:
    """Set the CPU threads of this process, once per worker: cores divided by workers.

    Raises:
        ConfigError: if the number is not positive.
    """
    if threads < 1:
        msg = f"threads is {threads}; needed: at least 1"
        raise ConfigError(msg)
    if threads != torch.get_num_threads():
        torch.set_num_threads(threads)


@contextmanager
def thread_count(threads: int | None) -> Iterator[None]:
    """Use that many CPU threads inside the block, and as many as before afterwards."""
    before = torch.get_num_threads()
    if threads is not None:
        set_threads(threads)
    try:
        yield
    finally:
        set_threads(before)
