"""The files of a dataset: scanned, checked against what is declared, none counted twice."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hepcalib import ntuples
from hepcalib.exceptions import ConfigError, NtupleError, one_line
from hepcalib.ntuples.duplicates import head_of, same_events

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hepcalib.ntuples import FileSummary

__all__ = ["Dataset", "Unreadable", "scan_dataset"]


class Unreadable(NamedTuple):
    """A file that cannot be processed, why, and its size as far as that was declared."""

    path: str
    reason: str
    events: int | None = None
    sum_of_weights: float | None = None


@dataclass(frozen=True)
class Dataset:
    """Files that are processed together under one name.

    Args:
        name: What `events.metadata["dataset"]` and the ledger call it.
        files: The scanned files, in the order of processing.
        layout: Name of their ntuple layout.
        metadata: Further entries of `events.metadata`.
        unreadable: Files that failed the scan; they stand in the ledger.
        tolerate: Whether bad files count as skipped instead of failed.
        shared_uuids: UUIDs that several of the files have, whose events are known to differ.

    Raises:
        NtupleError: if a file, or a copy of it, is there twice.
    """

    name: str
    files: tuple[FileSummary, ...]
    layout: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    unreadable: tuple[Unreadable, ...] = ()
    tolerate: bool = False
    shared_uuids: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        seen: dict[str, str] = {}
        for file in self.files:
            keys = {f"path {file.path}": "path"}
            if file.uuid not in self.shared_uuids:
                keys[f"uuid {file.uuid}"] = "uuid"
            if file.sha256 is not None:
                keys[f"sha256 {file.sha256}"] = "sha256"
            for key, what in keys.items():
                if key in seen:
                    msg = (
                        f"dataset '{self.name}': {file.path} has the {what} of {seen[key]}: the "
                        "same events would be counted twice; list each file once"
                    )
                    raise NtupleError(msg)
            seen |= dict.fromkeys(keys, file.path)


def scan_dataset(
    name: str,
    paths: Iterable[str | Path],
    layout: str,
    *,
    needs: Iterable[str] | None = None,
    checksum: bool = False,
    sha256: Mapping[str, str] | None = None,
    events: Mapping[str, int] | None = None,
    sum_of_weights: Mapping[str, float] | None = None,
    metadata: Mapping[str, Any] | None = None,
    tolerate: bool = False,
) -> Dataset:
    """Scan the files of a dataset; those that fail are kept, with the reason, for the ledger.

    Args:
        name: The dataset's name.
        paths: Its files.
        layout: Name of their ntuple layout.
        needs: Standard columns that every file must have.
        checksum: Whether to compute the sha256 of every file.
        sha256: What the sha256 of a file must be, by path or file name.
        events: How many entries a file must have, by path or file name.
        sum_of_weights: What its weights must add up to, by path or file name.
        metadata: Further entries of `events.metadata`.
        tolerate: Whether bad files count as skipped instead of failed.

    Raises:
        NtupleError: if there are no files, or one is there twice.
        ConfigError: if the layout, or a column of it, does not exist, or a declaration is about
            no file of the dataset.
    """
    files = [str(path) for path in paths]
    if not files:
        msg = f"dataset '{name}' has no files"
        raise NtupleError(msg)
    declared = {"sha256": sha256 or {}, "events": events or {}, "sum": sum_of_weights or {}}
    for what, values in declared.items():
        unknown = sorted(set(values) - set(files) - {Path(file).name for file in files})
        if unknown:
            msg = f"dataset '{name}': {what} is declared for {_few(unknown)}: no such file"
            raise ConfigError(msg)
    needed = None if needs is None else tuple(needs)
    found, unreadable = [], []
    for path in files:
        given = {what: _of(values, path) for what, values in declared.items()}
        try:
            file = ntuples.scan(
                path, layout, needs=needed, checksum=checksum, sha256=given["sha256"]
            )
            _agree(file, events=given["events"], total=given["sum"])
        except NtupleError as error:
            unreadable.append(Unreadable(path, one_line(str(error)), given["events"], given["sum"]))
        else:
            found.append(file)
    return Dataset(
        name,
        tuple(found),
        layout,
        dict(metadata or {}),
        tuple(unreadable),
        tolerate,
        _shared_uuids(found, layout),
    )


def _shared_uuids(files: Sequence[FileSummary], layout: str) -> frozenset[str]:
    """Return the UUIDs that several files have, all of them with different events.

    A UUID is meant to tell files apart, but files that are made reproducibly share one.
    """
    groups = defaultdict(list)
    for file in files:
        groups[file.uuid].append(file.path)
    shared = {uuid: paths for uuid, paths in groups.items() if len(set(paths)) > 1}
    heads = {path: head_of(path, layout) for paths in shared.values() for path in set(paths)}
    return frozenset(
        uuid
        for uuid, paths in shared.items()
        if not any(same_events(heads[one], heads[other]) for one, other in combinations(paths, 2))
    )


def _of(values: Mapping[str, Any], path: str) -> Any:
    return values.get(path, values.get(Path(path).name))


def _few(names: list[str]) -> str:
    others = f" and {len(names) - 3} others" if len(names) > 3 else ""
    return ", ".join(names[:3]) + others


def _agree(file: FileSummary, *, events: int | None, total: float | None) -> None:
    if events is not None and file.entries != events:
        msg = f"{file.path}: has {file.entries} entries, declared are {events}"
        raise NtupleError(msg)
    if total is not None and abs(file.sum_of_weights - total) > 1e-6 * abs(total):
        msg = f"{file.path}: the weights add up to {file.sum_of_weights}, declared is {total}"
        raise NtupleError(msg)
