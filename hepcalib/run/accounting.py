"""From the reports of the workers to the ledger; what nobody reported on has failed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from hepcalib import ntuples
from hepcalib.exceptions import NtupleError
from hepcalib.run.ledger import Account, CheckedFile, Counts, Ledger, Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hepcalib.run.chunks import Chunk, Plan
    from hepcalib.run.dataset import Dataset
    from hepcalib.run.work import Failure

__all__ = ["account"]

Kind = Literal["failed", "skipped"]


class _Entry(NamedTuple):
    """A chunk that was not processed."""

    chunk: Chunk
    kind: Kind
    reason: str
    sum_of_weights: float | None


def account(
    datasets: Sequence[Dataset], plan: Plan, report: Mapping[str, Any], *, tolerate: bool
) -> Ledger:
    """Balance what the datasets hold against what was processed.

    Args:
        datasets: The datasets, with the counts of their scan.
        plan: Their chunks.
        report: The sum of the workers' reports.
        tolerate: Whether bad files count as skipped in all datasets.
    """
    return Ledger({d.name: _account(d, plan, report, tolerate or d.tolerate) for d in datasets})


def _account(dataset: Dataset, plan: Plan, report: Mapping[str, Any], tolerate: bool) -> Account:
    planned = [chunk for chunk in plan.chunks if chunk.dataset == dataset.name]
    beyond = [chunk for chunk in plan.beyond if chunk.dataset == dataset.name]
    done = {c.key: report["done"][c.key] for c in planned if c.key in report.get("done", {})}
    entries = [_unprocessed(c, report, tolerate) for c in planned if c.key not in done]
    entries += [_Entry(chunk, "skipped", "beyond max_events", None) for chunk in beyond]
    entries, remainder = _with_weights(entries, dataset, planned, done)
    numbers = list(done.values())
    events = Counts(sum(f.entries for f in dataset.files), sum(n["events"] for n in numbers), 0, 0)
    chunks = Counts(len(planned) + len(beyond), sum(n["reports"] for n in numbers), 0, 0)
    weights = Counts(
        sum(f.sum_of_weights for f in dataset.files),
        sum(n["sum_of_weights"] for n in numbers),
        0.0,
        0.0,
    )
    for entry in entries:
        events = events.plus(entry.kind, entry.chunk.entries)
        chunks = chunks.plus(entry.kind, 1)
        weights = weights.plus(entry.kind, entry.sum_of_weights or 0.0)
    for kind, value in remainder.items():
        weights = weights.plus(kind, value)
    problems = [_problem(entry) for entry in entries]
    sums = [n["sum_of_weights"] for n in numbers] + [e.sum_of_weights or 0.0 for e in entries]
    scale = sum(abs(value) for value in sums)
    files = tuple(CheckedFile(f.path, f.sha256, f.checked) for f in dataset.files)
    bare = Account(events, chunks, weights, tuple(problems), scale, files)
    return _with_unreadable(bare, dataset, "skipped" if tolerate else "failed")


def _unprocessed(chunk: Chunk, report: Mapping[str, Any], tolerate: bool) -> _Entry:
    failures: Sequence[Failure] = report.get("failed", {}).get(chunk.key, ())
    if not failures:
        return _Entry(chunk, "failed", f"{chunk.path}: no worker reported on this chunk", None)
    failure = failures[0]
    kind: Kind = "skipped" if tolerate and failure.bad_file else "failed"
    return _Entry(chunk, kind, failure.reason, failure.sum_of_weights)


def _with_weights(
    entries: Iterable[_Entry],
    dataset: Dataset,
    planned: Sequence[Chunk],
    done: Mapping[str, Mapping[str, float]],
) -> tuple[list[_Entry], dict[Kind, float]]:
    """Fill in the sums of weights: read again, or what a file's other chunks leave of its total.

    Returns:
        The entries, and the sums of those that share a remainder and so stay unknown one by one.
    """
    filled = [e if e.sum_of_weights is not None else _read_weights(e, dataset) for e in entries]
    remainder: dict[Kind, float] = {}
    for file in dataset.files:
        unknown = [
            i
            for i, e in enumerate(filled)
            if e.chunk.path == file.path and e.sum_of_weights is None
        ]
        if not unknown:
            continue
        known = sum(
            done[c.key]["sum_of_weights"] for c in planned if c.path == file.path and c.key in done
        )
        known += sum(e.sum_of_weights or 0.0 for e in filled if e.chunk.path == file.path)
        left = file.sum_of_weights - known
        if len(unknown) == 1:
            filled[unknown[0]] = filled[unknown[0]]._replace(sum_of_weights=left)
        else:
            kind = filled[unknown[0]].kind
            remainder[kind] = remainder.get(kind, 0.0) + left
    return filled, remainder


def _read_weights(entry: _Entry, dataset: Dataset) -> _Entry:
    chunk = entry.chunk
    for file in dataset.files:
        if file.path == chunk.path and chunk.entries == file.entries:
            return entry._replace(sum_of_weights=file.sum_of_weights)
    try:
        found = ntuples.sum_of_weights(chunk.path, chunk.layout, start=chunk.start, stop=chunk.stop)
    except NtupleError:
        return entry
    return entry._replace(sum_of_weights=found)


def _problem(entry: _Entry) -> Problem:
    chunk = entry.chunk
    return Problem(
        chunk.path,
        entry.reason,
        entry.kind,
        chunk.entries,
        entry.sum_of_weights,
        (chunk.start, chunk.stop),
    )


def _with_unreadable(bare: Account, dataset: Dataset, kind: Kind) -> Account:
    """Add the files that failed the scan, one chunk each, as far as their size was declared."""
    events, chunks, weights = bare.events, bare.chunks, bare.sum_of_weights
    problems = list(bare.problems)
    for file in dataset.unreadable:
        events = _both(events, kind, file.events or 0)
        chunks = _both(chunks, kind, 1)
        weights = _both(weights, kind, file.sum_of_weights or 0.0)
        problems.append(
            Problem(file.path, file.reason, kind, file.events, file.sum_of_weights, None)
        )
    return replace(
        bare, events=events, chunks=chunks, sum_of_weights=weights, problems=tuple(problems)
    )


def _both(counts: Counts, kind: Kind, value: float) -> Counts:
    return counts.plus(kind, value)._replace(expected=counts.expected + value)
