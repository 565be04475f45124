"""Jagged awkward arrays to Ragged and back; awkward itself is imported when it is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from hepcalib.exceptions import ConfigError, DataError, ShapeError, suggestion
from hepcalib.ragged.rows import Ragged

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import awkward as ak
    from numpy.typing import NDArray

__all__ = ["Lists", "from_awkward", "lists", "to_awkward"]


class Lists(NamedTuple):
    """Jagged numbers where awkward keeps them: row i is `content[order[starts[i]:stops[i]]]`.

    Without an order it is `content[starts[i]:stops[i]]`. Nothing is copied until rows are asked
    for, so that a few rows of a selection cost no more memory than they have items.
    """

    content: NDArray[Any]
    starts: NDArray[np.int64]
    stops: NDArray[np.int64]
    order: NDArray[np.integer[Any]] | None = None

    @property
    def counts(self) -> NDArray[np.int64]:
        """Number of items of each row, (rows,)."""
        return self.stops - self.starts

    def numbers(self, rows: slice = slice(None)) -> NDArray[Any]:
        """Return the items of consecutive rows, one after the other; a view where they lie so."""
        starts, stops = self.starts[rows], self.stops[rows]
        if not len(starts):
            return self.content[:0]
        items: slice | NDArray[np.int64] = slice(starts[0], stops[-1])
        if not np.array_equal(starts[1:], stops[:-1]):
            counts = stops - starts
            shift = starts - (np.cumsum(counts) - counts)
            items = np.arange(int(counts.sum())) + np.repeat(shift, counts)
        numbers: NDArray[Any] = self.content[items if self.order is None else self.order[items]]
        return numbers


def from_awkward(
    columns: ak.Array | Mapping[str, Any],
    names: Sequence[str],
    *,
    dtype: torch.dtype = torch.float32,
) -> Ragged:
    """Return jagged columns as rows of items with one feature per column, always a copy.

    Sliced, masked, re-indexed and virtual arrays are fine, as are integers, booleans, other float
    types and an option type under which nothing is missing.

    Args:
        columns: Records ``rows * var * {names}``, or a mapping from names to jagged numbers.
        names: The columns to take; their order is that of the features.
        dtype: float32 or float64, which the components of momenta need.

    Shapes:
        -> values (items, names), offsets (rows + 1,)

    Raises:
        ConfigError: if the dtype is another one.
        DataError: if a column is absent, has missing values or does not hold lists of numbers.
        ShapeError: if the columns have different row lengths, or no name is given.
    """
    if dtype not in (torch.float32, torch.float64):
        msg = f"from_awkward: dtype is {dtype}; needed: torch.float32 or torch.float64"
        raise ConfigError(msg)
    if not names:
        msg = "from_awkward: no names; needed: at least one column"
        raise ShapeError(msg)
    known = getattr(columns, "fields", None) or list(columns)
    values, counts = torch.empty(0, 0, dtype=dtype), np.empty(0, np.int64)
    for position, name in enumerate(names):
        if name not in known:
            msg = f"from_awkward: no column '{name}'. {suggestion(name, known)}"
            raise DataError(msg)
        found = lists(columns[name], name)
        if position == 0:
            counts = found.counts
            values = torch.empty(int(counts.sum()), len(names), dtype=dtype)
        elif not np.array_equal(counts, found.counts):
            msg = f"from_awkward: '{name}' and '{names[0]}' have different row lengths"
            raise ShapeError(msg)
        with np.errstate(over="ignore"):  # beyond float32: infinite, for the reader to refuse
            values.numpy()[:, position] = found.numbers()
    offsets = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=offsets[1:])
    return Ragged(values, torch.from_numpy(offsets))


def to_awkward(ragged: Ragged, names: Sequence[str] | None = None) -> ak.Array:
    """Return the rows as an awkward array, of records if the features are named.

    Args:
        ragged: Rows of numbers, or of items with features.
        names: Names of the features, one for each.

    Shapes:
        (items,) -> rows * var * number; (items, features) -> rows * var * {names}

    Raises:
        ShapeError: if there is not one name per feature.
    """
    import awkward as ak

    packed = ragged.packed()
    values = packed.values.detach().cpu().numpy()
    content = ak.to_layout(values)
    if names is not None:
        if values.ndim != 2 or values.shape[1] != len(names):
            msg = f"to_awkward: {len(names)} names for values of shape {values.shape}"
            raise ShapeError(msg)
        columns = [ak.to_layout(np.ascontiguousarray(column)) for column in values.T]
        content = ak.contents.RecordArray(columns, list(names), length=len(values))
    offsets = ak.index.Index64(packed.offsets.cpu().numpy())
    return ak.Array(ak.contents.ListOffsetArray(offsets, content))


def lists(column: Any, name: str) -> Lists:
    """Return where the numbers of a jagged column are; the numbers are not copied if possible.

    Args:
        column: ``rows * var * number``, of any layout that awkward knows, or a NumPy matrix.
        name: What the column is called in the message of an error.

    Raises:
        DataError: if it has missing values or does not hold lists of numbers.
    """
    import awkward as ak

    if isinstance(column, np.ndarray):  # awkward knows the byte order of the machine only
        column = ak.Array(column.astype(column.dtype.newbyteorder("=")))
    layout = _without_missing(ak.to_layout(ak.materialize(column)), name, "row")
    if layout.is_unknown:  # no row at all, as of ak.Array([])
        return Lists(np.empty(0, np.float32), np.empty(0, np.int64), np.empty(0, np.int64))
    if layout.is_numpy and layout.purelist_depth == 2:
        layout = layout.to_RegularArray()
    if layout.is_list:
        found = _found(layout)
        if found is not None:
            return found
        layout = layout.to_packed().to_ListOffsetArray64(True)
        offsets = layout.offsets.data
        content = _without_missing(layout.content[: offsets[-1]], name, "item")
        if content.is_unknown or (content.is_numpy and content.data.dtype.kind in "biuf"):
            numbers = np.asarray(content.to_backend_array())
            return Lists(numbers, offsets[:-1], offsets[1:])
    msg = f"from_awkward: '{name}' is {ak.type(column)}; needed: rows * var * number"
    raise DataError(msg)


def _found(layout: ak.contents.Content) -> Lists | None:
    """Return the numbers of the usual layouts as they lie there, or None for another one."""
    if layout.is_regular:
        layout = layout.to_ListOffsetArray64(False)
    content, order = layout.content, None
    if content.is_indexed and not content.is_option:
        content, order = content.content, np.asarray(content.index.data)
    if not content.is_numpy or content.purelist_depth > 1 or content.data.dtype.kind not in "biuf":
        return None
    starts = np.asarray(layout.starts.data, np.int64)
    return Lists(
        content.data, starts, np.asarray(layout.stops.data, np.int64)[: len(starts)], order
    )


def _without_missing(layout: ak.contents.Content, name: str, unit: str) -> ak.contents.Content:
    if layout.is_option:
        missing = np.flatnonzero(layout.mask_as_bool(valid_when=False))
        if len(missing):
            msg = (
                f"from_awkward: '{name}' has {len(missing)} missing values, the first in {unit} "
                f"{missing[0]}; fill or drop them"
            )
            raise DataError(msg)
        layout = layout.project()
    return layout.project() if layout.is_indexed else layout
