"""What a worker does with a chunk: open, count, process; and record what went wrong."""

from __future__ import annotations

import math
import os
import sys
import time
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hepcalib import ntuples
from hepcalib.exceptions import DataError, HepcalibError, NtupleError, OutputError
from hepcalib.run.shipping import unpacked

if TYPE_CHECKING:
    from collections.abc import Iterator

    import awkward as ak
    from coffea.processor import ProcessorABC

    from hepcalib.run.chunks import Chunk

__all__ = ["Failure", "Work", "lost"]

_BACK_OFF = 0.2  # s before the second attempt, doubled for each further one
_PERMANENT = (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError)
_LONGEST_REASON = 2000  # characters; some libraries' messages hold whole arrays


class Failure(NamedTuple):
    """Why a chunk was not processed, whether its file is to blame, and its weights if readable."""

    reason: str
    bad_file: bool
    sum_of_weights: float | None


@dataclass(frozen=True)
class Work:
    """Processes one chunk and returns a report; reports add up with coffea's `accumulate`.

    A report is a dict with `done` (key -> events, sum_of_weights, reports) and `output`, or with
    `failed` (key -> list of Failure) and `refused` (why outputs cannot be kept). No exception
    leaves it, so that no chunk is lost.

    Args:
        processor: What processes the events, packed if workers in other processes get it.
        retries: Further attempts after an error of reading.
        threads: CPU threads that a worker process may use; None leaves that as it is.
    """

    processor: ProcessorABC | bytes
    retries: int = 2
    threads: int | None = None

    def __call__(self, chunk: Chunk) -> dict[str, Any]:
        """Process a chunk."""
        if self.threads is not None:
            _limit_threads(self.threads)
        attempts = 1 + self.retries
        for attempt in range(1, attempts + 1):
            try:
                return self._report(chunk)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - becomes an entry of the ledger
                if attempt < attempts and _worth_retrying(error):
                    time.sleep(_BACK_OFF * 2 ** (attempt - 1))
                    continue
                refused = [str(error)] if isinstance(error, OutputError) else []
                failed = {chunk.key: [_failure(error, chunk, attempt)]}
                return {"failed": failed, "refused": refused}
        raise AssertionError

    def _report(self, chunk: Chunk) -> dict[str, Any]:
        processor = self.processor
        if isinstance(processor, bytes):
            processor = unpacked(processor)
        with ntuples.open_events(
            chunk.path,
            chunk.layout,
            start=chunk.start,
            stop=chunk.stop,
            metadata=chunk.metadata,
        ) as events:
            _check_identity(events, chunk)
            weights = _sum_of_weights(events, chunk)
            output = processor.process(events)
        if output is None:
            msg = f"{type(processor).__name__}.process returned None; needed: what adds up"
            raise OutputError(msg)
        done = {"events": len(events), "sum_of_weights": weights, "reports": 1}
        return {"done": {chunk.key: done}, "output": output}


def lost(chunk: Chunk, reason: str) -> dict[str, Any]:
    """Return the report of a chunk that no worker reported on."""
    return {"failed": {chunk.key: [Failure(reason, bad_file=False, sum_of_weights=None)]}}


def _check_identity(events: ak.Array, chunk: Chunk) -> None:
    found = events.metadata["fileuuid"]
    if found != chunk.uuid or len(events) != chunk.entries:
        msg = (
            f"{chunk.path}: the file changed during the run: uuid {found}, {len(events)} entries "
            f"in [{chunk.start}, {chunk.stop}); scanned was uuid {chunk.uuid}"
        )
        raise NtupleError(msg)


def _sum_of_weights(events: ak.Array, chunk: Chunk) -> float:
    layout = ntuples.find_layout(chunk.layout)
    column = layout.columns.get("weight")
    if column is None or column.branch not in events.fields:
        return len(events) * layout.default("weight")
    weights = np.asarray(events[column.branch], dtype=np.float64)
    return math.fsum(weights)


def _failure(error: BaseException, chunk: Chunk, attempts: int) -> Failure:
    try:
        weights = ntuples.sum_of_weights(
            chunk.path, chunk.layout, start=chunk.start, stop=chunk.stop
        )
    except HepcalibError:
        weights = None
    bad_file = _is_bad_file(error)
    text = str(error)[:_LONGEST_REASON].strip()
    reason = f"{type(error).__name__}: {text}" if text else type(error).__name__
    if chunk.path not in reason:
        reason = f"{chunk.path}, entries {chunk.start}-{chunk.stop}: {reason}"
    if not bad_file:
        frames = traceback.extract_tb(error.__traceback__)
        reason += f" (at {frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    if attempts > 1:
        reason += f" [{attempts} attempts]"
    return Failure(reason, bad_file, weights)


def _chain(error: BaseException) -> Iterator[BaseException]:
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


_INPUT = frozenset(  # rooms that raise DataError for values of a file, not for mistakes in code
    f"hepcalib.{room}"
    for room in (
        "features.extraction",
        "features.jets",
        "ntuples.branches",
        "ntuples.linking",
        "ntuples.reading",
    )
)


def _is_bad_file(error: BaseException) -> bool:
    """Tell errors of the input from those of the processor, whatever their class."""
    if isinstance(error, HepcalibError):
        return isinstance(error, NtupleError) or (
            isinstance(error, DataError) and any(_raised_in(e) in _INPUT for e in _chain(error))
        )
    return any(
        frame.f_globals.get("__name__", "").startswith("coffea.nanoevents.mapping")
        for frame, _ in traceback.walk_tb(error.__traceback__)
    )


def _raised_in(error: BaseException) -> str:
    """Return the module that raised an error."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return str(frames[-1].f_globals.get("__name__", "")) if frames else ""


def _worth_retrying(error: BaseException) -> bool:
    """Tell whether reading again may help: the network or the disk had a hiccup."""
    causes = [link for link in _chain(error) if isinstance(link, OSError)]
    return (
        _is_bad_file(error)
        and bool(causes)
        and not any(isinstance(cause, _PERMANENT) for cause in causes)
    )


def _limit_threads(threads: int) -> None:
    """Keep the numerical libraries of this process to some threads, torch as soon as it is there.

    The environment counts for libraries that are imported later, by the processor.
    """
    os.environ["OMP_NUM_THREADS"] = str(threads)
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
