"""The futures executor: local worker processes, whose death costs no more than their own chunk."""

from __future__ import annotations

import concurrent.futures
import functools
from collections import defaultdict
from queue import SimpleQueue
from threading import Lock
from typing import TYPE_CHECKING, Any

from coffea.processor import FuturesExecutor

from hepcalib.processes import Broken, Workers
from hepcalib.run.executors import added, gather, limited_environment
from hepcalib.run.work import lost

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hepcalib.run.chunks import Chunk
    from hepcalib.run.work import Work

    Report = dict[str, Any]
    Deaths = defaultdict[str, list[str]]  # by the key of a chunk, how its workers ended

__all__ = ["futures"]

_GIVE_UP = 5  # chunks that kill their workers, before no further one is started


def futures(
    work: Work, chunks: Sequence[Chunk], tick: Callable[[], None], *, workers: int
) -> Report:
    """Process the chunks in worker processes.

    Each worker stands alone: when it dies, by chance or through its chunk, no other chunk is
    touched. The chunk is tried again as often as `work.retries` says, at last when nothing else
    runs, since the others may have taken the memory that it needs.
    """
    deaths: Deaths = defaultdict(list)
    total = _round(work, chunks, tick, workers, deaths, attempts=max(1, work.retries))
    left = _taken(total, chunks)
    total = added(total, _round(work, left, tick, 1, deaths, attempts=1 + work.retries))
    for chunk in _taken(total, left):
        tick()
        total = added(total, lost(chunk, f"{chunk.path}: {_reason(deaths, chunk, work.retries)}"))
    return total


def _round(
    work: Work,
    chunks: Sequence[Chunk],
    tick: Callable[[], None],
    workers: int,
    deaths: Deaths,
    *,
    attempts: int,
) -> Report:
    """Return the report of the chunks, those that were not done by so many attempts in `left`."""
    if not chunks:
        return {}
    count = min(workers, len(chunks))
    with _Pool(count, tick, deaths, threads=work.threads or 1, attempts=attempts) as pool:
        return gather(FuturesExecutor(pool=pool, status=False, compression=None), chunks, work)


def _taken(report: Report, chunks: Sequence[Chunk]) -> list[Chunk]:
    """Take out of a report the chunks that are left."""
    keys = report.pop("left", set())
    return [chunk for chunk in chunks if chunk.key in keys]


def _reason(deaths: Deaths, chunk: Chunk, retries: int) -> str:
    own = deaths[chunk.key]
    if len(own) > retries:
        times = f" {len(own)} times" if len(own) > 1 else ""
        return f"killed its worker process{times}: {own[-1]}"
    others = sum(len(found) > retries for found in deaths.values())
    return f"not tried: {others} other chunks killed their worker processes"


class _Pool(concurrent.futures.Executor):
    """Threads that have a worker process each; a task never raises: what breaks is a report.

    Args:
        count: Number of worker processes.
        tick: Called after each chunk with a result.
        deaths: Filled with the ends of worker processes, by chunk.
        threads: What the libraries of a worker may use.
        attempts: Deaths after which a chunk is left.
    """

    def __init__(
        self,
        count: int,
        tick: Callable[[], None],
        deaths: Deaths,
        *,
        threads: int,
        attempts: int,
    ) -> None:
        self._tick, self._deaths, self._attempts = tick, deaths, attempts
        self._environment = limited_environment(threads)
        self._lock = Lock()
        self._closed = False
        self._all = [self._worker() for _ in range(count)]
        self._idle: SimpleQueue[int] = SimpleQueue()
        for slot in range(count):
            self._idle.put(slot)
        self._threads = concurrent.futures.ThreadPoolExecutor(count)

    def submit(  # type: ignore[override]  # of one argument, as coffea calls it
        self, work: Work, chunk: Chunk
    ) -> concurrent.futures.Future[Report]:
        """Start a task; its result is the report of the chunk, or says that it is left."""
        return self._threads.submit(self._done, work, chunk)

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        """End the worker processes; after an interrupt do not wait for what they are doing."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        with self._lock:
            self._closed = True
        end = functools.partial(Workers.shutdown, wait=True, kill_workers=error is not None)
        with concurrent.futures.ThreadPoolExecutor(len(self._all)) as together:
            list(together.map(end, self._all))
        self._threads.shutdown(wait=True)

    def _done(self, work: Work, chunk: Chunk) -> Report:
        slot = self._idle.get()
        try:
            report = self._tried(slot, work, chunk)
        finally:
            self._idle.put(slot)
        if "left" not in report:
            self._tick()
        return report

    def _tried(self, slot: int, work: Work, chunk: Chunk) -> Report:
        own = self._deaths[chunk.key]
        while len(own) < self._attempts and self._fatal() < _GIVE_UP:
            try:
                report: Report = self._all[slot].submit(work, chunk).result()
            except Broken as error:
                own.append(_text(error))
                self._replace(slot)
            except Exception as error:  # noqa: BLE001 - becomes an entry of the ledger
                return lost(chunk, f"{chunk.path}: no result of the worker: {_text(error)}")
            else:
                return report
        return {"left": {chunk.key}}

    def _fatal(self) -> int:
        return sum(len(found) >= self._attempts for found in list(self._deaths.values()))

    def _worker(self) -> Workers:
        return Workers(1, environment=self._environment)

    def _replace(self, slot: int) -> None:
        """Give a slot a new worker process, unless the pool is ending."""
        with self._lock:
            if not self._closed:
                self._all[slot] = self._worker()


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
