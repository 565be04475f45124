"""Entries of a file as coffea's virtual NanoEvents, in the schema of a layout."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from coffea.nanoevents import NanoEventsFactory

from hepcalib.exceptions import NtupleError
from hepcalib.ntuples.files import check_branches, open_tree
from hepcalib.ntuples.registry import find_layout, schema_of
from hepcalib.ntuples.sources import first_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    import awkward as ak

    from hepcalib.ntuples.layout import Layout

__all__ = ["open_events"]


@contextmanager
def open_events(
    path: str | Path,
    layout: str | Layout,
    *,
    start: int | None = None,
    stop: int | None = None,
    metadata: Mapping[str, Any] | None = None,
    branches: Iterable[str] | None = None,
    access_log: list[Any] | None = None,
) -> Iterator[ak.Array]:
    """Open a file and yield entries [start, stop) as virtual NanoEvents; close it afterwards.

    Args:
        path: The file.
        layout: Its layout, or the name of it.
        start: First entry; None is the first of the file.
        stop: Entry behind the last one; None is the end of the file.
        metadata: Becomes `events.metadata`, beside filename, treename, fileuuid, layout,
            entrystart and entrystop.
        branches: Branches to offer; None is all. Fewer make the opening of a wide tree faster.
        access_log: A list that is told each branch when it is read.

    Raises:
        NtupleError: if the file cannot be opened or lacks a branch that the layout requires.
    """
    found = find_layout(layout)
    with open_tree(path, found) as (file, tree):
        offered = None if branches is None else set(branches)
        needed = found.required()
        check_branches(path, tree, needed if offered is None else needed & offered)
        first, last, _ = slice(start, stop).indices(int(tree.num_entries))
        last = max(first, last)
        origin = {
            "filename": str(path),
            "treename": found.tree,
            "fileuuid": str(file.file.uuid),
            "entrystart": first,
            "entrystop": last,
            "layout": found.name,
        }
        try:
            events = NanoEventsFactory.from_root(
                file,
                treepath=found.tree,
                mode="virtual",
                entry_start=first,
                entry_stop=last,
                schemaclass=schema_of(found),
                metadata={**(metadata or {}), **origin},
                iteritems_options={} if offered is None else {"filter_name": sorted(offered)},
                access_log=access_log,
            ).events()
        except NtupleError as error:
            msg = f"{path}: {error}"
            raise NtupleError(msg) from error
        except Exception as error:
            msg = f"{path}: no events can be made of tree '{found.tree}': {first_line(error)}"
            raise NtupleError(msg) from error
        yield events
