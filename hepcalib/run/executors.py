"""coffea's executors over our chunks; a chunk that no worker reports on is in the report, too."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from coffea import util
from coffea.processor import IterativeExecutor, accumulate

from hepcalib.exceptions import ConfigError, suggestion
from hepcalib.run.work import lost

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from hepcalib.run.chunks import Chunk
    from hepcalib.run.work import Work

    Report = dict[str, Any]
    Tick = Callable[[], None]

__all__ = ["EXECUTORS", "added", "cores", "execute", "gather", "limited_environment"]

EXECUTORS: Final = ("dask", "futures", "iterative")


def cores() -> int:
    """Return the number of CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def execute(
    work: Work,
    chunks: Sequence[Chunk],
    *,
    executor: str,
    workers: int | None,
    address: str | None,
    tick: Tick,
) -> Report:
    """Run work on all chunks with an executor by name, and return the sum of the reports.

    Raises:
        ConfigError: if there is no such executor.
        RunError: if the dask scheduler does not answer.
    """
    if executor not in EXECUTORS:
        msg = f"unknown executor '{executor}'. {suggestion(executor, EXECUTORS)}"
        raise ConfigError(msg)
    if not chunks:
        return {}
    with _quiet():
        if executor == "iterative":
            return iterative(work, chunks, tick)
        count = workers or cores()
        if executor == "futures":
            from hepcalib.run.pool import futures

            return futures(work, chunks, tick, workers=count)
        from hepcalib.run.cluster import dask

        return dask(work, chunks, tick, workers=count, address=address)


def iterative(work: Work, chunks: Sequence[Chunk], tick: Tick) -> Report:
    """Process the chunks one after the other in this process."""

    def ticking(chunk: Chunk) -> Report:
        report = work(chunk)
        tick()
        return report

    return gather(IterativeExecutor(status=False), chunks, ticking)


def gather(executor: Any, chunks: Sequence[Chunk], function: Callable[[Chunk], Report]) -> Report:
    """Call a coffea executor; if it breaks, every chunk is reported as lost, with the reason."""
    try:
        report: Report = executor(list(chunks), function, {})[0]
    except Exception as error:  # noqa: BLE001 - becomes an entry of the ledger for each chunk
        reason = f"the executor broke: {type(error).__name__}: {error}"
        return added({}, *(lost(chunk, reason) for chunk in chunks))
    return report


def added(first: Report, *others: Report) -> Report:
    """Return the sum of reports; the first may be changed."""
    total: Report = accumulate(others, first)
    return total


def limited_environment(threads: int) -> dict[str, str]:
    """Return the environment variables that keep the libraries of a worker to some threads."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    return dict.fromkeys(names, str(threads))


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence coffea's own progress bars, which ignore `status=False`."""
    console: Any = getattr(util, "coffea_console", None)
    if console is None:
        yield
        return
    before, console.quiet = console.quiet, True
    try:
        yield
    finally:
        console.quiet = before
