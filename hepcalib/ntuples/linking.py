"""From links (jet number, candidate number) to the candidates of each jet, vectorised."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hepcalib.exceptions import DataError
from hepcalib.ntuples.place import Place

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Linked", "link"]


_NOWHERE = Place()


class Linked(NamedTuple):
    """The candidates of all jets: those of jet j are `candidates[offsets[j] : offsets[j + 1]]`."""

    offsets: NDArray[np.int64]
    candidates: NDArray[np.int64]


def link(
    jet: NDArray[np.integer[Any]],
    candidate: NDArray[np.integer[Any]],
    *,
    links: NDArray[np.int64],
    jets: NDArray[np.int64],
    candidates: NDArray[np.int64],
    place: Place = _NOWHERE,
) -> Linked:
    """Group links by jet, with an empty row for a jet that no link names.

    The candidates of a jet keep the order of their links; the links need not be sorted by jet.

    Args:
        jet: Number of the jet in its event, for each link.
        candidate: Number of the candidate in its event, for each link.
        links: Number of links in each event.
        jets: Number of jets in each event.
        candidates: Number of candidates in each event.
        place: Where the events come from, for error messages.

    Returns:
        Offsets over all jets and, for each link, the row of the candidate among all candidates.

    Shapes:
        jet, candidate: (links,); links, jets, candidates: (events,) -> (jets + 1,), (links,)

    Raises:
        DataError: if a link points outside its event or is no integer, or a jet has the same
            candidate twice.
    """
    for name, numbers in (("jet", jet), ("candidate", candidate)):
        if numbers.dtype.kind not in "iu":
            msg = f"{place.text}: {name} numbers of links are {numbers.dtype}; needed: integers"
            raise DataError(msg)
    event = np.repeat(np.arange(len(links)), links)
    _in_range(jet, jets[event], event, "jet", place)
    _in_range(candidate, candidates[event], event, "candidate", place)
    row = jet.astype(np.int64) + starts(jets)[:-1][event]
    target = candidate.astype(np.int64) + starts(candidates)[:-1][event]
    if np.any(np.diff(row) < 0):
        order = np.argsort(row, kind="stable")
        row, target, event = row[order], target[order], event[order]
    _unique(row, target, event, int(candidates.sum()), place)
    counts = np.bincount(row, minlength=int(jets.sum()))
    return Linked(starts(counts), target)


def starts(counts: NDArray[Any]) -> NDArray[np.int64]:
    """Return offsets from 0 for lists of these lengths: (n,) -> (n + 1,)."""
    offsets = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=offsets[1:])
    return offsets


def _in_range(
    index: NDArray[np.integer[Any]],
    size: NDArray[np.int64],
    event: NDArray[np.int64],
    name: str,
    place: Place,
) -> None:
    bad = np.flatnonzero((index < 0) | (index >= size))
    if len(bad):
        i = bad[0]
        msg = (
            f"{place.text}: {len(bad)} links point outside their event, first to {name} {index[i]} "
            f"in entry {place.first_entry + event[i]}, which has {size[i]} of them"
        )
        raise DataError(msg)


def _unique(
    row: NDArray[np.int64],
    target: NDArray[np.int64],
    event: NDArray[np.int64],
    candidates: int,
    place: Place,
) -> None:
    if np.bincount(target, minlength=1).max() <= 1:  # most jets share none with another one
        return
    pair = row * max(candidates, 1) + target
    if (np.diff(pair) > 0).all():
        return
    order = np.argsort(pair, kind="stable")
    twice = np.flatnonzero(np.diff(pair[order]) == 0)
    if len(twice):
        entry = place.first_entry + event[order[twice]].min()
        msg = (
            f"{place.text}: {len(twice)} links name a candidate of a jet twice, "
            f"first in entry {entry}"
        )
        raise DataError(msg)
