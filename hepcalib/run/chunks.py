"""Datasets cut into chunks of entries: every entry in exactly one of them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

from hepcalib.exceptions import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hepcalib.run.dataset import Dataset

__all__ = ["Chunk", "Plan", "plan"]


class Chunk(NamedTuple):
    """Entries [start, stop) of a file; `file_number` counts the files of a run."""

    dataset: str
    path: str
    tree: str
    layout: str
    file_number: int
    uuid: str
    start: int
    stop: int
    user_metadata: Mapping[str, Any]

    @property
    def key(self) -> str:
        """What identifies the chunk within a run."""
        return f"{self.file_number}:{self.start}-{self.stop}"

    @property
    def entries(self) -> int:
        """The number of entries."""
        return self.stop - self.start

    @property
    def metadata(self) -> dict[str, Any]:
        """What becomes `events.metadata`."""
        return {
            **self.user_metadata,
            "dataset": self.dataset,
            "filename": self.path,
            "treename": self.tree,
            "layout": self.layout,
            "file_number": self.file_number,
            "fileuuid": self.uuid,
            "entrystart": self.start,
            "entrystop": self.stop,
        }


class Plan(NamedTuple):
    """The chunks to process, and those that a limit on the events leaves out."""

    chunks: tuple[Chunk, ...]
    beyond: tuple[Chunk, ...]


def plan(datasets: Sequence[Dataset], *, chunk_size: int, max_events: int | None = None) -> Plan:
    """Cut datasets into chunks of about equal size.

    A file of n entries gives round(n / chunk_size) chunks, at least one: an empty file has one
    chunk without entries, so that its histograms exist.

    Args:
        datasets: The datasets, with different names.
        chunk_size: Entries that a chunk should have.
        max_events: Entries of a dataset to process; the others are in `beyond`.

    Raises:
        ConfigError: if a number is not positive or two datasets have one name.
    """
    for name, value in {"chunk_size": chunk_size, "max_events": max_events}.items():
        if value is not None and value < 1:
            msg = f"{name} = {value}: it must be at least 1"
            raise ConfigError(msg)
    names = [dataset.name for dataset in datasets]
    if len(set(names)) < len(names):
        msg = f"datasets need different names, got {', '.join(sorted(names))}"
        raise ConfigError(msg)
    chunks: list[Chunk] = []
    beyond: list[Chunk] = []
    number = 0
    for dataset in datasets:
        left = math.inf if max_events is None else max_events
        for file in dataset.files:
            used = int(min(file.entries, left))
            left -= used
            whole = Chunk(
                dataset.name, file.path, file.tree, dataset.layout, number, file.uuid,
                0, file.entries, dict(dataset.metadata),
            )  # fmt: skip
            if used or not file.entries:
                chunks += [whole._replace(start=a, stop=b) for a, b in _ranges(used, chunk_size)]
            if used < file.entries:
                beyond.append(whole._replace(start=used))
            number += 1
    return Plan(tuple(chunks), tuple(beyond))


def _ranges(entries: int, size: int) -> Iterator[tuple[int, int]]:
    count = max(1, round(entries / size))
    for i in range(count):
        yield entries * i // count, entries * (i + 1) // count
