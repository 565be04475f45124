"""The futures executor: local worker processes, whose death costs no more than their own chunk."""

from __future__ import annotations

import concurrent.futures
from typing import TYPE_CHECKING, Any

import loky
from coffea.processor import FuturesExecutor

from hepcalib.run.executors import added, gather, limited_environment
from hepcalib.run.work import lost

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hepcalib.run.chunks import Chunk
    from hepcalib.run.work import Work

    Report = dict[str, Any]

__all__ = ["futures"]

# loky starts a worker anew once it has grown by 300 MB, as by a large chunk: the next chunk would
# wait for torch and the models to be loaded again.
NO_LIMIT = {"LOKY_MAX_MEMORY_LEAK_SIZE": "1e18"}

_GIVE_UP = 5  # chunks that kill their workers, before no further pool is started


def futures(
    work: Work, chunks: Sequence[Chunk], tick: Callable[[], None], *, workers: int
) -> Report:
    """Process the chunks in worker processes.

    When a worker dies, the pool is lost with all that it had not finished. The chunks that were
    then being worked on are tried again in a pool with one worker, which shows which of them is
    to blame: that one is reported as failed. All others go to a new pool.
    """
    total: Report = {}
    waiting = list(chunks)
    fatal = 0
    while waiting:
        total = added(total, _round(work, waiting, tick, workers))
        broken = total.pop("broken", {})
        waiting = [chunk for chunk in waiting if chunk.key in broken]
        # Tasks start in the order of their submission: these are the ones that had started.
        suspects, waiting = waiting[:workers], waiting[workers:]
        while suspects:
            total = added(total, _round(work, suspects, tick, 1))
            broken = total.pop("broken", {})
            suspects = [chunk for chunk in suspects if chunk.key in broken]
            if suspects:
                culprit = suspects.pop(0)
                reason = f"killed its worker process: {broken[culprit.key][0]}"
                total = added(total, lost(culprit, f"{culprit.path}: {reason}"))
                tick()
                fatal += 1
        if fatal >= _GIVE_UP:
            reason = f"not tried: {fatal} other chunks killed their worker processes"
            return added(total, *(lost(chunk, f"{chunk.path}: {reason}") for chunk in waiting))
    return total


def _round(work: Work, chunks: Sequence[Chunk], tick: Callable[[], None], workers: int) -> Report:
    with _Pool(min(workers, len(chunks)), tick, threads=work.threads or 1) as pool:
        return gather(FuturesExecutor(pool=pool, status=False, compression=None), chunks, work)


class _Pool(concurrent.futures.Executor):
    """A loky pool whose futures never raise: a broken task is a report, as any other."""

    def __init__(self, workers: int, tick: Callable[[], None], *, threads: int) -> None:
        self._tick = tick
        self._pool = loky.ProcessPoolExecutor(
            workers, env={**limited_environment(threads), **NO_LIMIT}
        )

    def submit(  # type: ignore[override]  # of one argument, as coffea calls it
        self, work: Work, chunk: Chunk
    ) -> concurrent.futures.Future[Report]:
        """Start a task; its result is the report of the chunk, or says that the pool broke."""
        outer: concurrent.futures.Future[Report] = concurrent.futures.Future()

        def finish(inner: concurrent.futures.Future[Report]) -> None:
            if inner.cancelled():  # by an interrupt, which nobody waits after
                return
            error = inner.exception()
            report = inner.result() if error is None else _without_result(chunk, error)
            outer.set_result(report)
            if "broken" not in report:
                self._tick()

        try:
            self._pool.submit(work, chunk).add_done_callback(finish)
        except loky.process_executor.BrokenProcessPool as error:
            outer.set_result(_without_result(chunk, error))
        return outer

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        """End the worker processes; after an interrupt do not wait for what they are doing."""
        self._pool.shutdown(wait=True, kill_workers=error is not None)


def _without_result(chunk: Chunk, error: BaseException) -> Report:
    text = " ".join(str(error).split())
    reason = f"{type(error).__name__}: {text}"
    if isinstance(error, loky.process_executor.BrokenProcessPool):
        return {"broken": {chunk.key: [reason]}}
    return lost(chunk, f"{chunk.path}: no result of the worker: {reason}")
