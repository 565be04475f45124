"""A processor over datasets, in chunks, through one of coffea's executors; nothing is lost."""

from __future__ import annotations

import os
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

from hepcalib.exceptions import ConfigError, OutputError
from hepcalib.run.accounting import account
from hepcalib.run.chunks import Chunk, plan
from hepcalib.run.executors import cores, execute
from hepcalib.run.shipping import packed
from hepcalib.run.surveying import informed
from hepcalib.run.work import Work

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from coffea.processor import ProcessorABC

    from hepcalib.run.dataset import Dataset
    from hepcalib.run.ledger import Ledger

__all__ = ["Result", "process"]


class Result(NamedTuple):
    """What a run gives: the summed output, the ledger, and the chunks that are in the output."""

    output: Any
    ledger: Ledger
    processed: tuple[Chunk, ...]


def process(
    processor: ProcessorABC,
    datasets: Sequence[Dataset],
    *,
    executor: str = "iterative",
    workers: int | None = None,
    chunk_size: int = 100_000,
    max_events: int | None = None,
    tolerate: bool = False,
    address: str | None = None,
    retries: int = 2,
    progress: bool | Callable[[int, int], None] = False,
) -> Result:
    """Run a coffea processor over datasets and account for every event.

    An error of a file or of the processor never ends the run: it stands in the ledger, with its
    reason, and the other chunks are processed. Counts are the same, and histograms within
    rounding, for every executor and chunk size. A processor with `pilot` and `informed` sees some
    events of a large run first (`hepcalib.run.surveying.Learner`).

    Args:
        processor: Anything whose `process(events)` returns what adds up: a dict of Hist, numbers
            or sets. Events are virtual NanoEvents in the schema of the dataset's layout. Workers
            get the code of a processor that is not in an installed package.
        datasets: What to process, from `scan_dataset`.
        executor: `iterative` in this process, `futures` in local processes, or `dask`.
        workers: Worker processes of futures and of a local dask cluster; None is one per core.
        chunk_size: Entries that a chunk should have; the chunks of a file are about equal.
        max_events: Entries per dataset to process; the others are skipped, in the ledger.
        tolerate: Whether bad files count as skipped instead of failed, in all datasets.
        address: A running dask scheduler to use instead of a local cluster; only for `dask`.
        retries: Further attempts to read a chunk after an error of the disk or network, and to
            process it after its worker process of `futures` was killed.
        progress: Whether to draw a bar on stderr, or a function of (chunks done, chunks).

    Returns:
        The sum of the outputs, the ledger, and the processed chunks.

    Raises:
        ConfigError: for an unknown executor, a number out of range, or an address that is unused.
        OutputError: if nothing of what the processor returns can be kept.
        RunError: if the dask scheduler does not answer, or workers cannot get the processor.
    """
    for name, value, least in (("workers", workers, 1), ("retries", retries, 0)):
        if value is not None and value < least:
            msg = f"{name} = {value}: it must be at least {least}"
            raise ConfigError(msg)
    if address is not None and executor != "dask":
        msg = f"address {address}: only the executor 'dask' has a scheduler, not '{executor}'"
        raise ConfigError(msg)
    planned = plan(datasets, chunk_size=chunk_size, max_events=max_events)
    threads = _threads(executor, workers, address)

    def report_of(
        processor: ProcessorABC, chunks: Sequence[Chunk], tick: Callable[[], None] = lambda: None
    ) -> dict[str, Any]:
        given = processor if executor == "iterative" else packed(processor)
        work = Work(given, retries=retries, threads=threads)
        return execute(work, chunks, executor=executor, workers=workers, address=address, tick=tick)

    processor = informed(processor, planned.chunks, lambda *given: report_of(*given).get("output"))
    with _ticking(progress, len(planned.chunks)) as tick:
        report = report_of(processor, planned.chunks, tick)
    done = report.get("done", {})
    if report.get("refused") and not done:
        raise OutputError(report["refused"][0])
    ledger = account(datasets, planned, report, tolerate=tolerate)
    processed = tuple(chunk for chunk in planned.chunks if chunk.key in done)
    return Result(_finished(processor, report.get("output", {})), ledger, processed)


def _threads(executor: str, workers: int | None, address: str | None) -> int | None:
    """Return the threads of a worker, so that all together do not need more than the cores."""
    if executor == "iterative":
        return None
    if address is not None:  # other machines, which may run many workers each
        return 1
    share = max(1, cores() // (workers or cores()))
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return min(share, int(asked)) if asked.isdigit() and int(asked) > 0 else share


def _finished(processor: ProcessorABC, output: Any) -> Any:
    """Sort by name, since executors merge in any order, and let the processor finish."""
    if isinstance(output, dict) and all(isinstance(key, str) for key in output):
        output = {key: output[key] for key in sorted(output)}
    postprocess = getattr(processor, "postprocess", None)
    changed = postprocess(output) if callable(postprocess) else None
    return output if changed is None else changed


@contextmanager
def _ticking(
    progress: bool | Callable[[int, int], None], total: int
) -> Iterator[Callable[[], None]]:
    """Yield what to call after each chunk, from any thread."""
    if progress is True:
        with _bar(total) as show, _ticking(show, total) as inner:
            yield inner
        return
    lock, done = Lock(), 0

    def tick() -> None:
        nonlocal done
        with lock:
            done = min(done + 1, total)
            if callable(progress):
                progress(done, total)

    yield tick


@contextmanager
def _bar(total: int) -> Iterator[Callable[[int, int], None]]:
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("process", total=total)
        yield lambda done, _: bar.update(task, completed=done)
