"""From branches to standard clusters and jets; each column is read when it is first looked at."""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING, Any

import awkward as ak
import numpy as np

from hepcalib.exceptions import ConfigError, DataError
from hepcalib.ntuples.branches import Branches
from hepcalib.ntuples.columns import STANDARD
from hepcalib.ntuples.conversion import converted
from hepcalib.ntuples.events import open_events
from hepcalib.ntuples.linking import Linked, link, starts
from hepcalib.ntuples.place import Place
from hepcalib.ntuples.registry import find_layout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from hepcalib.ntuples.layout import Candidates, Gen, Layout

__all__ = ["objects", "read", "where"]


def objects(
    events: ak.Array,
    *,
    layout: str | Layout | None = None,
    columns: Iterable[str] | None = None,
) -> ak.Array:
    """Return the standard clusters or jets of NanoEvents, as virtual columns.

    Units are GeV, mm and ns; jets are at the raw scale; the weights of candidates are applied.
    Jets without constituents have an empty list of them.

    Args:
        events: NanoEvents in the schema of a layout (`open_events`, or a run's chunk).
        layout: The layout; None takes `events.metadata["layout"]`.
        columns: Standard columns to offer; None is all. A column is read when it is looked at.

    Returns:
        `rows * {energy, ...}` for clusters, `events * var * {pt, ..., constituents: var * {...}}`
        for jets.

    Raises:
        ConfigError: if no layout is given, or it has no such column.
        NtupleError: on looking at a column that cannot be read or has wrong list lengths.
        DataError: on looking at a column with broken links or constituents that are not finite.
    """
    metadata = events.metadata or {}
    layout = metadata.get("layout") if layout is None else layout
    if layout is None:
        msg = "objects: events.metadata has no 'layout'; give layout=, e.g. layout='nanoaod'"
        raise ConfigError(msg)
    found = find_layout(layout)
    names = found.expand(columns)
    branches = Branches(events, Place.of(metadata))
    if found.object == "cluster":
        return _clusters(branches, found, names, len(events))
    return _jets(branches, found, names, len(events))


def read(
    path: str | Path,
    layout: str | Layout,
    *,
    columns: Iterable[str] | None = None,
    start: int | None = None,
    stop: int | None = None,
) -> ak.Array:
    """Read the standard clusters or jets of a file into memory; see `objects`.

    Args:
        path: The file.
        layout: Its layout, or the name of it.
        columns: Standard columns; None is all. Optional ones that the file lacks have defaults.
        start: First entry; None is the first of the file.
        stop: Entry behind the last one; None is the end of the file.

    Raises:
        NtupleError: if the file is damaged, or lacks the tree or branches.
        DataError: if links are broken or constituents are not finite.
        ConfigError: if there is no such layout or column.
    """
    found = find_layout(layout)
    names = found.expand(columns)
    needed = found.branches(names)
    with open_events(path, found, start=start, stop=stop, branches=needed) as events:
        return ak.materialize(objects(events, layout=found, columns=names))


def where(events: ak.Array) -> str:
    """Return dataset, file and entries of NanoEvents, for error messages."""
    return Place.of(events.metadata or {}).text


def _clusters(branches: Branches, layout: Layout, names: tuple[str, ...], length: int) -> ak.Array:
    container = {name: partial(converted, layout, name, branches, size=length) for name in names}
    return _virtual(_record(names, layout), container, length)


def _jets(branches: Branches, layout: Layout, names: tuple[str, ...], length: int) -> ak.Array:
    jets = _Jets(branches, layout)
    container: dict[str, Callable[[], NDArray[Any]]] = {
        name: partial(jets.column, name) for name in names
    }
    own = tuple(name for name in names if "." not in name)
    nested = tuple(name for name in names if "." in name)
    form = _record(own, layout)
    if nested:
        container["constituents"] = lambda: jets.linked().offsets
        form["fields"].append("constituents")
        form["contents"].append(_list(_record(nested, layout), "constituents"))
    container["jets"] = lambda: starts(branches.counts(layout.jets))
    return _virtual(_list(form, "jets"), container, length)


class _Jets:
    """The columns of all jets in a row; links are resolved once."""

    def __init__(self, branches: Branches, layout: Layout) -> None:
        self._branches = branches
        self._layout = layout
        self.linked = cache(self._linked)
        self._match = cache(self._matched)

    def column(self, name: str) -> NDArray[Any]:
        """Return a standard column: (jets,), or (links,) for constituents."""
        layout, branches = self._layout, self._branches
        level = STANDARD["jet"][name].level
        counts = branches.counts(layout.jets)
        if name == "index":
            return _ranks(counts)
        if level == "event":
            return np.repeat(converted(layout, name, branches, size=len(counts)), counts)
        if level == "gen":
            return self._gen(name)
        if level == "constituent" and layout.candidates:
            return self._constituent(name, layout.candidates)
        return converted(layout, name, branches, size=int(counts.sum()), collection=layout.jets)

    def _gen(self, name: str) -> NDArray[Any]:
        layout, branches, gen = self._layout, self._branches, self._layout.gen
        matched, row = self._match()
        if name == "matched":
            return matched
        values = np.full(len(matched), layout.default(name), np.float32)
        if gen is None or not matched.any():
            return values
        rows = row[matched]
        values[matched] = converted(
            layout, name, branches, size=len(rows), collection=gen.collection, rows=rows
        )
        return values

    def _matched(self) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Return whether each jet is matched, and the row of its match among all of them."""
        branches, gen = self._branches, self._layout.gen
        counts = branches.counts(self._layout.jets)
        if gen is None or gen.link not in branches:
            jets = int(counts.sum())
            return np.zeros(jets, bool), np.zeros(jets, np.int64)
        numbers = branches.jagged(gen.link, self._layout.jets)
        index = branches.cast(numbers, np.int64, branch=gen.link, collection=self._layout.jets)
        size = branches.counts(gen.collection)
        beyond = index >= np.repeat(size, counts)
        if gen.beyond == "error" and beyond.any():
            self._refuse_beyond(gen, index, beyond, counts)
        first = np.repeat(starts(size)[:-1], counts)
        return (index >= 0) & ~beyond, first + index

    def _refuse_beyond(
        self,
        gen: Gen,
        index: NDArray[np.int64],
        beyond: NDArray[np.bool_],
        counts: NDArray[np.int64],
    ) -> None:
        place = self._branches.place
        event = np.repeat(np.arange(len(counts)), counts)[beyond][0]
        msg = (
            f"{place.text}: '{gen.link}' points past the last {gen.collection} for {beyond.sum()} "
            f"jets, first {index[beyond][0]} in entry {place.first_entry + event}"
        )
        raise DataError(msg)

    def _linked(self) -> Linked:
        branches, candidates = self._branches, self._layout.candidates
        if candidates is None:
            msg = f"layout '{self._layout.name}' has no constituents"
            raise ConfigError(msg)
        return link(
            branches.jagged(candidates.jet, candidates.links),
            branches.jagged(candidates.candidate, candidates.links),
            links=branches.counts(candidates.links),
            jets=branches.counts(self._layout.jets),
            candidates=branches.counts(candidates.collection),
            place=branches.place,
        )

    def _constituent(self, name: str, candidates: Candidates) -> NDArray[Any]:
        branches = self._branches
        linked = self.linked()
        rows = linked.candidates
        values = converted(
            self._layout,
            name,
            branches,
            size=len(rows),
            collection=candidates.collection,
            rows=rows,
        )
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            jets = starts(branches.counts(self._layout.jets))
            jet = np.searchsorted(linked.offsets, bad[0], side="right") - 1
            event = np.searchsorted(jets, jet, side="right") - 1
            msg = (
                f"{branches.place.text}: '{self._layout.columns[name].branch}' is not finite for "
                f"{len(bad)} jet constituents, first {values[bad[0]]} in jet {jet - jets[event]} "
                f"of entry {branches.place.first_entry + event}"
            )
            raise DataError(msg)
        return values


def _ranks(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return 0, 1, ... for the objects of each event."""
    offsets = starts(counts)
    return np.arange(offsets[-1]) - np.repeat(offsets[:-1], counts)


def _record(names: tuple[str, ...], layout: Layout) -> dict[str, Any]:
    dtypes = [STANDARD[layout.object][name].dtype for name in names]
    contents = [
        {"class": "NumpyArray", "primitive": dtype, "form_key": name}
        for name, dtype in zip(names, dtypes, strict=True)
    ]
    fields = [name.rpartition(".")[2] for name in names]
    return {"class": "RecordArray", "fields": fields, "contents": contents}


def _list(content: dict[str, Any], key: str) -> dict[str, Any]:
    return {"class": "ListOffsetArray", "offsets": "i64", "content": content, "form_key": key}


def _virtual(
    form: dict[str, Any], container: Mapping[str, Callable[[], NDArray[Any]]], length: int
) -> ak.Array:
    return ak.from_buffers(form, length, container, buffer_key="{form_key}")
