"""Branches of NanoEvents as flat NumPy arrays, with list lengths checked against the counters."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import awkward as ak
import numpy as np

from hepcalib.casting import is_number, misfit
from hepcalib.exceptions import DataError, HepcalibError, NtupleError
from hepcalib.ntuples.linking import starts
from hepcalib.ntuples.sources import first_line

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

    from hepcalib.casting import Misfit
    from hepcalib.ntuples.place import Place

__all__ = ["Branches"]


class Branches:
    """Flat arrays of the branches of some events; each read reads one branch.

    Args:
        events: NanoEvents in which every branch has its own name (`events.Jet_pt`).
        place: Where they come from.
    """

    def __init__(self, events: ak.Array, place: Place) -> None:
        self._events = events
        self._present = frozenset(events.fields)
        self._counts: dict[str, NDArray[np.int64]] = {}
        self.place = place

    def __contains__(self, branch: str) -> bool:
        """Tell whether the file has the branch."""
        return branch in self._present

    def counts(self, collection: str) -> NDArray[np.int64]:
        """Return the number of objects in each event, from the counter: (events,)."""
        if collection not in self._counts:
            counter = f"n{collection}"
            counts = self.cast(self.flat(counter), np.int64, branch=counter)
            negative = np.flatnonzero(counts < 0)
            if len(negative):
                msg = (
                    f"{self.place.text}: counter '{counter}' is {counts[negative[0]]} in entry "
                    f"{self.place.first_entry + negative[0]}; the file is damaged"
                )
                raise NtupleError(msg)
            self._counts[collection] = counts
        return self._counts[collection]

    def flat(self, branch: str) -> NDArray[Any]:
        """Return a branch with one number per event: (events,).

        Raises:
            NtupleError: if it cannot be read.
            DataError: if it is not one number per event.
        """
        return self._numbers(self._layout(branch), branch)

    def jagged(self, branch: str, collection: str) -> NDArray[Any]:
        """Return a branch with one number per object, all events in a row: (objects,).

        Raises:
            NtupleError: if it cannot be read, or its list lengths differ from the counter.
            DataError: if it is not a list of numbers per event.
        """
        layout = self._layout(branch)
        if not layout.is_list or layout.parameters.get("__array__"):
            msg = (
                f"{self.place.text}: branch '{branch}' is {layout.form.type}, not a list per event"
            )
            raise DataError(msg)
        layout = layout.to_ListOffsetArray64(True)
        offsets = np.asarray(layout.offsets.data)
        counts = self.counts(collection)
        wrong = np.flatnonzero(np.diff(offsets) != counts)
        if len(wrong):
            i = wrong[0]
            msg = (
                f"{self.place.text}: branch '{branch}' and counter 'n{collection}' disagree in "
                f"{len(wrong)} events, first in entry {self.place.first_entry + i}: list of "
                f"{offsets[i + 1] - offsets[i]}, counter {counts[i]}; the file is damaged"
            )
            raise NtupleError(msg)
        return self._numbers(layout.content[: int(starts(counts)[-1])], branch)

    def values(self, branch: str, collection: str = "") -> NDArray[Any]:
        """Return `jagged` values of a collection, or `flat` ones if there is none."""
        return self.jagged(branch, collection) if collection else self.flat(branch)

    def cast(
        self,
        values: NDArray[Any],
        dtype: DTypeLike,
        *,
        branch: str,
        collection: str = "",
        rows: NDArray[np.int64] | None = None,
    ) -> NDArray[Any]:
        """Return values as another type that can hold all of them; see `casting.misfit`.

        Args:
            values: What was made of the values of a branch, or of some of them.
            dtype: The type to return.
            branch: The branch.
            collection: Its collection, if it has lists.
            rows: Which of its values they are; None is all.

        Raises:
            DataError: naming the entry and the value in the file that the type cannot hold.
        """
        found = misfit(values, dtype)
        if found is not None:
            self.refuse(found, branch, collection=collection, rows=rows)
        return values.astype(dtype, copy=False)

    def refuse(
        self,
        found: Misfit,
        branch: str,
        *,
        collection: str = "",
        rows: NDArray[np.int64] | None = None,
    ) -> NoReturn:
        """Raise the error of values of a branch that a column cannot hold; see `cast`."""
        position = found.position if rows is None else int(rows[found.position])
        entry, within = position, ""
        if collection:
            first = starts(self.counts(collection))
            entry = int(np.searchsorted(first, position, side="right")) - 1
            within = f", {collection} {position - first[entry]}"
        msg = (
            f"{self.place.text}: branch '{branch}' is {self.values(branch, collection)[position]} "
            f"in entry {self.place.first_entry + entry}{within} ({found.number} such values); "
            f"needed: {found.needed}"
        )
        raise DataError(msg)

    def _layout(self, branch: str) -> Any:
        if branch not in self._present:
            msg = f"{self.place.text}: there is no branch '{branch}'"
            raise NtupleError(msg)
        try:
            return ak.to_layout(ak.to_packed(ak.materialize(self._events[branch])))
        except HepcalibError:
            raise
        except Exception as error:
            msg = f"{self.place.text}: branch '{branch}' cannot be read: {first_line(error)}"
            raise NtupleError(msg) from error

    def _numbers(self, layout: Any, branch: str) -> NDArray[Any]:
        if not (
            layout.is_numpy
            and layout.purelist_depth == 1
            and not layout.parameters.get("__array__")  # the letters of a text
            and is_number(layout.data.dtype)
        ):
            msg = f"{self.place.text}: branch '{branch}' holds {layout.form.type}, not numbers"
            raise DataError(msg)
        return np.asarray(layout.data)
