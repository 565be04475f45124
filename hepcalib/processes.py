"""Processes that end with the one that started them, however that ends."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Any

import loky
from loky.backend import resource_tracker as semaphores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from concurrent.futures import Future

__all__ = ["NO_LIMIT", "Broken", "Workers", "dask_setup", "end_with", "undisturbed"]

Broken = loky.process_executor.BrokenProcessPool

# loky starts a worker anew once it has grown by 300 MB, as by a large chunk: the next chunk would
# wait for torch and the models to be loaded again.
NO_LIMIT = {"LOKY_MAX_MEMORY_LEAK_SIZE": "1e18"}

_PR_SET_PDEATHSIG = 1  # of <sys/prctl.h>
_LOOK = 0.5  # s between two looks at the parent


class Workers(loky.ProcessPoolExecutor):  # type: ignore[misc]  # loky is untyped
    """A pool of worker processes, which end with this process.

    After an error in the `with` block, or an interrupt, they are killed whatever they are doing.
    An interrupt in the terminal does not reach them: it is the business of this process.

    Args:
        workers: Number of processes.
        environment: Further environment variables of theirs.
        initializer: What each of them calls first.
        arguments: What it is called with.
    """

    def __init__(
        self,
        workers: int,
        *,
        environment: Mapping[str, str] | None = None,
        initializer: Callable[..., None] | None = None,
        arguments: tuple[Any, ...] = (),
    ) -> None:
        with undisturbed():
            semaphores.ensure_running()  # as the one that `undisturbed` starts
        with undisturbed():
            super().__init__(
                workers,
                env={**NO_LIMIT, **(environment or {})},
                initializer=_begin,
                initargs=(os.getpid(), initializer, arguments),
            )

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **keys: Any) -> Future[Any]:
        """Start a task, and the processes if they are not there yet."""
        with undisturbed():
            future: Future[Any] = super().submit(function, *arguments, **keys)
        return future

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        """End the processes; after an error do not wait for what they are doing."""
        self.shutdown(wait=True, kill_workers=error is not None)


def end_with(parent: int) -> None:
    """Kill this process as soon as the one that started it, with the number `parent`, is gone.

    On Linux the kernel does so, also during a long call outside of Python, and when the thread
    that started this process ends. Everywhere, a thread looks who the parent is.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    _end_if_orphan(parent)  # it may have ended before
    threading.Thread(target=_watch, args=(parent,), name="parent watch", daemon=True).start()


def dask_setup(_: object) -> None:
    """Tie a dask worker that preloads this module to the process of its nanny."""
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid is not None:
        end_with(parent.pid)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let processes and threads that are started in here not get the signals of the terminal."""
    signals = {signal.SIGINT, signal.SIGHUP}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        resource_tracker.ensure_running()  # a process, too, and unblocks SIGINT when it starts
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(
    parent: int, initializer: Callable[..., None] | None, arguments: tuple[Any, ...]
) -> None:
    end_with(parent)
    if initializer is not None:
        initializer(*arguments)


def _watch(parent: int) -> None:
    while True:
        _end_if_orphan(parent)
        time.sleep(_LOOK)


def _end_if_orphan(parent: int) -> None:
    if os.getppid() != parent:
        os._exit(1)
