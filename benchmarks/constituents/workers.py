"""Processes of their own for what is measured, told in turn to do it once more."""

from __future__ import annotations

import gc
import multiprocessing
import os
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from multiprocessing.connection import Connection

    Factory = Callable[..., Callable[[], Any]]

STATUS = Path("/proc/self/status")
FAILED = "failed"


class Measured(NamedTuple):
    cpu: float  # [s] of all threads
    wall: float  # [s]
    peak: float  # highest resident size of the process so far [MB]
    result: Any


class Worker:
    """A process in which `factory(*arguments)` prepares something that is then measured.

    Args:
        factory: Returns a callable; importable, since the process is a fresh one. Its ``close``, if
            it has one, is called at the end.
        arguments: What it is called with.
        fresh: Whether to take a process at all; only then is the memory that of this task alone.
    """

    def __init__(self, factory: Factory, *arguments: Any, fresh: bool = True) -> None:
        self._task = None if fresh else factory(*arguments)
        if not fresh:
            return
        os.environ["OMP_NUM_THREADS"] = "1"
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(target=_serve, args=(other, factory, arguments))
        self._process.start()
        other.close()

    def __call__(self) -> Measured:
        """Do it once and say what it took."""
        if self._task is not None:
            return measured(self._task)
        self._pipe.send("run")
        found = self._pipe.recv()
        if isinstance(found, Measured):
            return found
        self.close()
        raise RuntimeError(found)

    def close(self) -> None:
        """End the task, and its process if there is one."""
        if self._task is not None:
            _end(self._task)
            return
        self._pipe.close()
        self._process.join()


def in_turn(workers: Mapping[str, Worker], rounds: int) -> dict[str, list[Measured]]:
    """Let all workers run once, before it counts, and then round after round; end them."""
    found: dict[str, list[Measured]] = {name: [] for name in workers}
    for number in range(rounds + 1):
        for name, worker in workers.items():
            one = worker()
            if number:
                found[name].append(one)
    for worker in workers.values():
        worker.close()
    return found


def measured(task: Callable[[], Any]) -> Measured:
    """Measure one run."""
    cpu, wall = time.process_time(), time.perf_counter()
    result = task()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return Measured(cpu, wall, memory("VmHWM"), result)


def memory(entry: str) -> float:
    """Return an entry of the status of this process on Linux, such as VmHWM or VmRSS [MB]."""
    lines = dict(line.split(":", 1) for line in STATUS.read_text().splitlines())
    return int(lines[entry].split()[0]) * 1024 / 1e6


def _serve(pipe: Connection, factory: Factory, arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)  # coffea draws its progress whatever it is told
    try:
        task = factory(*arguments)
        try:
            while pipe.recv() == "run":
                gc.collect()
                pipe.send(measured(task))
        finally:
            _end(task)
    except EOFError:
        return
    except Exception:  # noqa: BLE001 - whatever it is, the parent raises it
        pipe.send(f"{FAILED}: {traceback.format_exc()}")


def _end(task: Callable[[], Any]) -> None:
    close = getattr(task, "close", None)
    if close is not None:
        close()
