"""The dask executor: a local cluster of processes, or the scheduler at an address."""

from __future__ import annotations

import logging
import os
import signal
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from coffea.processor import DaskExecutor

from hepcalib import processes
from hepcalib.exceptions import ConfigError, RunError
from hepcalib.processes import undisturbed
from hepcalib.run.chunks import Chunk
from hepcalib.run.executors import added, gather, limited_environment
from hepcalib.run.work import lost

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from hepcalib.run.work import Work

    Report = dict[str, Any]

__all__ = ["dask"]

_CONNECT = 30  # s for the scheduler to answer, and for its first worker to appear
_PATIENT = {
    # A local cluster forgets a dead worker that is not back after 15 s, though its nanny is about
    # to restart it; without workers it would then wait for ever.
    "distributed.deploy.lost-worker-timeout": "1 hour",
    "distributed.scheduler.no-workers-timeout": "5 minutes",
}
_GIVE_UP = 5  # chunks that kill their workers, before the others count as lost


def dask(
    work: Work,
    chunks: Sequence[Chunk],
    tick: Callable[[], None],
    *,
    workers: int,
    address: str | None,
) -> Report:
    """Process the chunks with dask.

    A chunk that kills every worker it is given (dask tries `allowed-failures` of them) makes
    coffea drop the output of the whole call: it is then reported as failed, and the others are
    processed again without it.

    Raises:
        ConfigError: if dask is not installed.
        RunError: if the scheduler does not answer or has no workers.
    """
    failed: Report = {}
    waiting = list(chunks)
    with _client(workers, address, threads=work.threads or 1) as client:
        for _ in range(_GIVE_UP):
            report = _attempt(_Counted(client, tick), waiting, work)
            fatal = [chunk for chunk in waiting if chunk.key in report.get("fatal", {})]
            if not fatal:
                return added(failed, report)
            for chunk in fatal:
                reason = report["fatal"][chunk.key][0]
                failed = added(failed, lost(chunk, f"{chunk.path}: {reason}"))
                waiting.remove(chunk)
            if not waiting:
                return failed
    reason = f"given up: {_GIVE_UP} other chunks killed their workers"
    return added(failed, *(lost(chunk, f"{chunk.path}: {reason}") for chunk in waiting))


class _Counted:
    """A dask client that counts the chunks that are done; coffea's executor only calls `map`."""

    def __init__(self, client: Any, tick: Callable[[], None]) -> None:
        self._client = client
        self._tick = tick

    def map(self, function: Any, items: Sequence[Any], **options: Any) -> list[Any]:
        """Submit one task per item, as the client does."""
        tasks: list[Any] = self._client.map(function, items, **options)
        if isinstance(items[0], Chunk):
            for task in tasks:
                task.add_done_callback(lambda _: self._tick())
        return tasks


def _attempt(client: _Counted, chunks: Sequence[Chunk], work: Work) -> Report:
    """Return the report of all chunks, or `fatal` alone: the chunk that killed its workers."""
    executor = DaskExecutor(client=client, status=False, retries=0)
    errors: list[Exception] = []

    def noting(items: list[Chunk], task: Work, empty: Report) -> Any:
        try:
            return executor(items, task, empty)
        except Exception as error:
            errors.append(error)
            raise

    report = gather(noting, chunks, work)
    for chunk in chunks if errors else ():
        if str(chunk) in str(errors[0]):  # coffea's words on a killed worker name its item
            return {"fatal": {chunk.key: ["killed its workers (a crash, or out of memory)"]}}
    return report


def _connected(target: Any) -> Any:
    from distributed import Client

    return Client(target, timeout=_CONNECT)  # type: ignore[no-untyped-call]  # distributed is untyped


@contextmanager
def _client(workers: int, address: str | None, *, threads: int) -> Iterator[Any]:
    try:
        from dask import config as dask_config
        from distributed import LocalCluster
    except ImportError as error:
        msg = "the dask executor needs dask: pip install 'hepcalib[dask]'"
        raise ConfigError(msg) from error
    with ExitStack() as stack:
        if address is None:
            stack.enter_context(dask_config.set(_PATIENT))
            stack.callback(logging.disable, logging.root.manager.disable)
            with undisturbed():
                cluster = LocalCluster(  # type: ignore[no-untyped-call]  # distributed is untyped
                    n_workers=workers,
                    threads_per_worker=1,
                    processes=True,
                    dashboard_address="127.0.0.1:0",
                    scheduler_kwargs={"dashboard": False},
                    env=limited_environment(threads),
                    preload=[processes.__name__],
                )
            client = stack.enter_context(_connected(stack.enter_context(cluster)))
            stack.enter_context(_killed_by_interrupts(cluster))
            yield client
            return
        try:
            client = stack.enter_context(_connected(address))
            client.wait_for_workers(1, timeout=_CONNECT)
        except (OSError, TimeoutError, ValueError) as error:
            msg = (
                f"dask scheduler {address}: no answer, or no workers, within {_CONNECT} s: {error}"
            )
            raise RunError(msg) from error
        yield client


@contextmanager
def _killed_by_interrupts(cluster: Any) -> Iterator[None]:
    """After an interrupt, let workers neither finish what they do nor say that they did not."""
    try:
        yield
    except Exception:
        raise
    except BaseException:
        logging.disable(logging.CRITICAL)
        for nanny in cluster.workers.values():
            nanny.close_gracefully()  # starts no other worker
            if nanny.pid is not None:
                with suppress(ProcessLookupError):
                    os.kill(nanny.pid, signal.SIGKILL)
        raise
