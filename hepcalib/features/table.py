"""Standard columns of clusters or jets as flat NumPy arrays, whatever their awkward layout."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from hepcalib.casting import cast
from hepcalib.exceptions import DataError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Self

    import awkward as ak
    from numpy.typing import NDArray

    from hepcalib.ragged.columns import Lists

__all__ = ["CONSTITUENTS", "Table", "objects_per_event"]

CONSTITUENTS = "constituents"


class Table:
    """Objects and their constituents, one object per row; the input of every feature.

    `table["pt"]` is a column of the objects, `table["constituents.pt"]` one of all constituents in
    the order of their objects. Columns are float64 and are read when first asked for, so that
    virtual arrays load only what the features need.

    `part` gives some of the rows, whose columns are converted when they are asked for: what is
    computed in parts needs memory for one of them.

    Args:
        columns: Standard columns: `rows * {...}` (record array, structured array or mapping of
            arrays), or jagged `events * var * {...}`, which is flattened to one row per object.
        constituents: Names of the constituent columns that will be asked for.

    Raises:
        DataError: if a column is missing, has missing values or is not numeric.
        ShapeError: if columns have different lengths.
    """

    def __init__(self, columns: Any, *, constituents: Iterable[str] = ()) -> None:
        self._columns = _record(columns)
        self.constituents = tuple(sorted(constituents))
        self._jagged = _is_jagged(self._columns)
        counts = objects_per_event(self._columns)
        self.first, self.rows = 0, len(self._columns) if counts is None else int(counts.sum())
        # What has been read of all rows, which the parts share, and what was made of these rows.
        self._read: dict[str, NDArray[np.float64]] = {}
        self._lists: dict[str, Lists] = {}
        self._made: dict[Any, Any] = {}

    def part(self, rows: slice) -> Self:
        """Return some consecutive rows; `first` is the number of their first in the whole."""
        found = copy.copy(self)
        start, stop, _ = rows.indices(self.rows)
        found.first, found.rows = self.first + start, max(0, stop - start)
        found._made = {}
        return found

    def blocks(self, size: int) -> list[slice]:
        """Return slices that cover all rows, each of one row or of limited size.

        Args:
            size: Largest number of rows plus, if there are any, constituents.
        """
        edges = np.arange(self.rows + 1)
        if self.constituents:
            edges += self.offsets
        slices, start = [], 0
        while start < self.rows:
            stop = int(np.searchsorted(edges, edges[start] + size, side="right")) - 1
            slices.append(slice(start, max(start + 1, stop)))
            start = slices[-1].stop
        return slices

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        """Return a column as float64: (rows,), or (items,) for `constituents.*`."""
        if name not in self._made:
            prefix, _, member = name.partition(".")
            self._made[name] = self._constituent(member) if member else self._object(prefix)
        values: NDArray[np.float64] = self._made[name]
        return values

    @property
    def offsets(self) -> NDArray[np.int64]:
        """Where the constituents of each object start, (rows + 1,), from 0."""
        if "" not in self._made:
            self._made[""] = np.concatenate([[0], np.cumsum(self._counts())])
        offsets: NDArray[np.int64] = self._made[""]
        return offsets

    def per_constituent(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Repeat one value per object for each of its constituents: (rows,) -> (items,)."""
        if id(values) not in self._made:  # kept beside its result, or the id could be another's
            self._made[id(values)] = values, np.repeat(values, self._counts())
        repeated: NDArray[np.float64] = self._made[id(values)][1]
        return repeated

    def sum(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum over the constituents of each object, 0 without any: (items,) -> (rows,)."""
        rows = np.repeat(np.arange(self.rows), self._counts())
        return np.bincount(rows, weights=values, minlength=self.rows).astype(np.float64)

    @property
    def _rows(self) -> slice:
        return slice(self.first, self.first + self.rows)

    def _object(self, name: str) -> NDArray[np.float64]:
        if name not in self._read:
            self._read[name] = self._numbers(name)
        return self._read[name][self._rows]

    def _numbers(self, name: str) -> NDArray[np.float64]:
        import awkward as ak

        require(name, self._columns.fields, "column")
        column = ak.materialize(self._columns[name])
        if self._jagged:
            column = ak.flatten(column, axis=1)
        try:
            values = ak.to_numpy(column, allow_missing=True)
            masked = int(np.ma.getmaskarray(values).sum())
            result = cast(np.ma.getdata(values), np.float64, what=f"column '{name}'")
        except (TypeError, ValueError, DataError) as error:
            msg = f"column '{name}' is {ak.type(column)}; needed: one number per object"
            raise DataError(msg) from error
        if masked:
            first = int(np.flatnonzero(np.ma.getmaskarray(values))[0])
            msg = f"column '{name}' has {masked} missing values, first in row {first}; fill or cut"
            raise DataError(msg)
        if result.ndim != 1:
            msg = f"column '{name}' has shape {result.shape}; needed: one number per object"
            raise ShapeError(msg)
        return result

    def _constituent(self, name: str) -> NDArray[np.float64]:
        known = self._constituents()
        require(name, self.constituents, "constituent column")
        return known[name].numbers(self._rows).astype(np.float64)

    def _counts(self) -> NDArray[np.int64]:
        return next(iter(self._constituents().values())).counts[self._rows]

    def _constituents(self) -> dict[str, Lists]:
        if not self._lists:
            self._lists |= self._read_constituents()
        return self._lists

    def _read_constituents(self) -> dict[str, Lists]:
        import awkward as ak

        from hepcalib.ragged.columns import lists

        require(CONSTITUENTS, self._columns.fields, "column")
        column = self._columns[CONSTITUENTS]
        if self._jagged:
            column = ak.flatten(column, axis=1)
        if not self.constituents:
            msg = "no columns of the constituents were asked for; needed: at least one"
            raise ShapeError(msg)
        present = [f"{CONSTITUENTS}.{name}" for name in column.fields]
        for name in self.constituents:
            require(f"{CONSTITUENTS}.{name}", present, "column")
        found = {name: lists(column[name], f"{CONSTITUENTS}.{name}") for name in self.constituents}
        counts = found[self.constituents[0]].counts
        for name, each in found.items():
            if not np.array_equal(each.counts, counts):
                row = _first_difference(each.counts, counts)
                msg = (
                    f"'{CONSTITUENTS}.{name}' and '{CONSTITUENTS}.{self.constituents[0]}' have "
                    f"different lengths, first in row {row}"
                )
                raise ShapeError(msg)
        return found


def _first_difference(first: NDArray[np.int64], second: NDArray[np.int64]) -> int:
    common = min(len(first), len(second))
    different = np.flatnonzero(first[:common] != second[:common])
    return int(different[0]) if len(different) else common


def require(name: str, present: Iterable[str], what: str) -> None:
    """Raise a DataError that names the column and the nearest present ones, if it is missing."""
    names = sorted(present)
    if name in names:
        return
    nearest = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f" Nearest: {', '.join(nearest)}." if nearest else ""
    msg = f"{what} '{name}' is missing. Present: {', '.join(names) or 'none'}.{hint}"
    raise DataError(msg)


def _native(column: Any) -> Any:
    """Return a NumPy column in the byte order of the machine, the only one awkward knows."""
    is_foreign = isinstance(column, np.ndarray) and not column.dtype.isnative
    return column.astype(column.dtype.newbyteorder("=")) if is_foreign else column


def _is_jagged(columns: ak.Array) -> bool:
    return bool(columns.layout.purelist_depth > 1)


def _record(columns: Any) -> Any:
    """Return an awkward record array of whatever holds named columns."""
    import awkward as ak

    if isinstance(columns, np.ndarray) and columns.dtype.names is not None:
        columns = {name: columns[name] for name in columns.dtype.names}
    if isinstance(columns, Mapping):
        lengths = {name: len(column) for name, column in columns.items()}
        if len(set(lengths.values())) > 1:
            msg = f"columns have different lengths: {lengths}"
            raise ShapeError(msg)
        return ak.zip({name: _native(column) for name, column in columns.items()}, depth_limit=1)
    if isinstance(columns, ak.Array) and columns.fields:
        return columns
    msg = f"columns are {type(columns).__name__}; needed: an array or mapping with named columns"
    raise DataError(msg)


def objects_per_event(columns: Any) -> NDArray[np.int64] | None:
    """Return the number of objects in each event, or None for columns with one object per row.

    Raises:
        DataError: if events are masked away, with which results could not be aligned.
    """
    import awkward as ak

    if not (isinstance(columns, ak.Array) and _is_jagged(columns)):
        return None
    counts = ak.to_numpy(ak.num(columns, axis=1), allow_missing=True)
    masked = int(np.ma.getmaskarray(counts).sum())
    if masked:
        msg = f"{masked} of {len(counts)} events are missing (masked); cut them away first"
        raise DataError(msg)
    return np.ma.getdata(counts).astype(np.int64)
