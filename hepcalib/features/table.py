"""Standard columns of clusters or jets as flat NumPy arrays, whatever their awkward layout."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from hepcalib.exceptions import DataError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import awkward as ak
    from numpy.typing import NDArray

    from hepcalib.ragged import Ragged

__all__ = ["CONSTITUENTS", "Table", "objects_per_event"]

CONSTITUENTS = "constituents"


class Table:
    """Objects and their constituents, one object per row; the input of every feature.

    `table["pt"]` is a column of the objects, `table["constituents.pt"]` one of all constituents in
    the order of their objects. Columns are float64 and are read when first asked for, so that
    virtual arrays load only what the features need.

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
        self._names = tuple(sorted(constituents))
        self._jagged = _is_jagged(self._columns)
        self._cache: dict[str, NDArray[np.float64]] = {}
        self._ragged: Ragged | None = None
        counts = objects_per_event(self._columns)
        self.rows = len(self._columns) if counts is None else int(counts.sum())

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        """Return a column as float64: (rows,), or (items,) for `constituents.*`."""
        if name not in self._cache:
            prefix, _, member = name.partition(".")
            self._cache[name] = self._constituent(member) if member else self._object(prefix)
        return self._cache[name]

    @property
    def offsets(self) -> NDArray[np.int64]:
        """Where the constituents of each object start, (rows + 1,), from 0."""
        offsets: NDArray[np.int64] = self._constituents().offsets.numpy()
        return offsets

    def per_constituent(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Repeat one value per object for each of its constituents: (rows,) -> (items,)."""
        return np.repeat(values, np.diff(self.offsets))

    def sum(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum over the constituents of each object, 0 without any: (items,) -> (rows,)."""
        rows = np.repeat(np.arange(self.rows), np.diff(self.offsets))
        return np.bincount(rows, weights=values, minlength=self.rows).astype(np.float64)

    def _object(self, name: str) -> NDArray[np.float64]:
        import awkward as ak

        require(name, self._columns.fields, "column")
        column = ak.materialize(self._columns[name])
        if self._jagged:
            column = ak.flatten(column, axis=1)
        try:
            values = ak.to_numpy(column, allow_missing=True)
            masked = int(np.ma.getmaskarray(values).sum())
            result = np.ma.getdata(values).astype(np.float64)
        except (TypeError, ValueError) as error:
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
        ragged = self._constituents()
        require(name, self._names, "constituent column")
        values: NDArray[np.float64] = ragged.values[:, self._names.index(name)].double().numpy()
        return values

    def _constituents(self) -> Ragged:
        if self._ragged is None:
            self._ragged = self._read_constituents()
        return self._ragged

    def _read_constituents(self) -> Ragged:
        import awkward as ak

        from hepcalib import ragged

        require(CONSTITUENTS, self._columns.fields, "column")
        column = self._columns[CONSTITUENTS]
        if self._jagged:
            column = ak.flatten(column, axis=1)
        present = [f"{CONSTITUENTS}.{name}" for name in column.fields]
        for name in self._names:
            require(f"{CONSTITUENTS}.{name}", present, "column")
        return ragged.from_awkward(column, self._names).packed()


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
