"""Whether two files hold the same events, whatever their names, identities and bytes say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from hepcalib.ntuples.files import open_tree
from hepcalib.ntuples.registry import find_layout

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from hepcalib.ntuples.layout import Layout

__all__ = ["Head", "head_of", "same_events"]

_ENTRIES = 100


class Head(NamedTuple):
    """What stands in the first entries of a file: branch -> one hash per entry."""

    branches: Mapping[str, tuple[int, ...]]


def head_of(path: str | Path, layout: str | Layout) -> Head:
    """Return what stands in the first entries of a file, in the branches that a layout requires.

    A branch that cannot be read is left out.

    Raises:
        NtupleError: if the file cannot be opened.
    """
    found = find_layout(layout)
    branches = {}
    with open_tree(path, found) as (_, tree):
        for branch in sorted(found.required() & set(tree.keys())):
            branches[branch] = _hashes(tree[branch])
    return Head({name: hashes for name, hashes in branches.items() if hashes is not None})


def _hashes(branch: Any) -> tuple[int, ...] | None:
    try:
        values = branch.array(entry_stop=_ENTRIES).tolist()
    except Exception:  # noqa: BLE001 - reading it for a result will say what is wrong
        return None
    return tuple(hash(repr(value)) for value in values)


def same_events(one: Head, other: Head) -> bool:
    """Tell whether two files begin with the same events.

    They do if most of the branches agree in all entries that both have: numbers of runs and of
    events may agree by chance, and one branch of a damaged copy may differ. Empty lists tell
    nothing, nor does a file without entries.
    """
    nothing = hash(repr([]))
    told = agreed = 0
    for branch in one.branches.keys() & other.branches.keys():
        pairs = list(zip(one.branches[branch], other.branches[branch], strict=False))
        if any(pair != (nothing, nothing) for pair in pairs):
            told += 1
            agreed += all(first == second for first, second in pairs)
    return 2 * agreed > told
