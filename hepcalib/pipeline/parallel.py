"""Independent tasks in several processes, with their progress reported here."""

from __future__ import annotations

import functools
from concurrent.futures import wait
from typing import TYPE_CHECKING, Any

from loky.backend.context import get_context

from hepcalib.exceptions import RunError
from hepcalib.processes import Broken, Workers

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from multiprocessing.queues import Queue

    Report = Callable[[str, int, int], None]
    Task = Callable[[str, Callable[[int, int], None]], Any]

__all__ = ["each"]

_POLL = 0.2  # s between two looks at the progress
_reports: list[Queue[tuple[str, int, int]]] = []  # of a worker process: where its progress goes


def each(task: Task, names: Sequence[str], *, workers: int, report: Report) -> None:
    """Run `task(name, progress)` for every name, in at most `workers` processes at a time.

    Args:
        task: A picklable function; `progress(done, of)` reports from inside it.
        names: What to run it for.
        workers: Processes; with one, or for one name, everything runs in this process.
        report: Called here with (name, done, of).

    Raises:
        HepcalibError: the first error of a task; the others are finished before. After an
            interrupt they are not.
        RunError: if a process dies.
    """
    if workers == 1 or len(names) <= 1:
        for name in names:
            task(name, functools.partial(report, name))
        return
    queue: Queue[tuple[str, int, int]] = get_context().Queue()
    with Workers(min(workers, len(names)), initializer=_report_to, arguments=(queue,)) as pool:
        futures = {pool.submit(_run, task, name) for name in names}
        pending = futures
        while pending:
            _, pending = wait(pending, timeout=_POLL)
            _pass_on(queue, report)
    _pass_on(queue, report)
    try:
        for future in futures:
            future.result()
    except Broken as error:
        msg = f"a process that worked on one of {', '.join(names)} died; was there enough memory?"
        raise RunError(msg) from error


def _pass_on(queue: Queue[tuple[str, int, int]], report: Report) -> None:
    while not queue.empty():
        report(*queue.get())


def _report_to(queue: Queue[tuple[str, int, int]]) -> None:
    _reports.append(queue)


def _run(task: Task, name: str) -> None:
    task(name, lambda done, of: _reports[0].put((name, done, of)))
