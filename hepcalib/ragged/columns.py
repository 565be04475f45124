"""Jagged awkward arrays to Ragged and back; awkward itself is imported when it is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from hepcalib.exceptions import DataError, ShapeError, suggestion
from hepcalib.ragged.rows import Ragged

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import awkward as ak
    from numpy.typing import NDArray

__all__ = ["from_awkward", "to_awkward"]


def from_awkward(columns: ak.Array | Mapping[str, Any], names: Sequence[str]) -> Ragged:
    """Return jagged columns as rows of float32 items with one feature per column, always a copy.

    Sliced, masked, re-indexed and virtual arrays are fine, as are integers, booleans, other float
    types and an option type under which nothing is missing.

    Args:
        columns: Records ``rows * var * {names}``, or a mapping from names to jagged numbers.
        names: The columns to take; their order is that of the features.

    Shapes:
        -> values (items, names), offsets (rows + 1,)

    Raises:
        DataError: if a column is absent, has missing values or does not hold lists of numbers.
        ShapeError: if the columns have different row lengths, or no name is given.
    """
    if not names:
        msg = "from_awkward: no names; needed: at least one column"
        raise ShapeError(msg)
    known = getattr(columns, "fields", None) or list(columns)
    values, edges = np.empty((0, 0), np.float32), np.empty(0, np.int64)
    for position, name in enumerate(names):
        if name not in known:
            msg = f"from_awkward: no column '{name}'. {suggestion(name, known)}"
            raise DataError(msg)
        content, offsets = _lists(columns[name], name)
        if position == 0:
            values, edges = np.empty((len(content), len(names)), np.float32), offsets
        elif not np.array_equal(edges, offsets):
            msg = f"from_awkward: '{name}' and '{names[0]}' have different row lengths"
            raise ShapeError(msg)
        with np.errstate(over="ignore"):  # beyond float32: infinite, for the reader to refuse
            values[:, position] = content
    return Ragged(torch.from_numpy(values), torch.from_numpy(edges.copy()))


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


def _lists(column: Any, name: str) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return the numbers of a jagged column and its offsets from zero."""
    import awkward as ak

    if isinstance(column, np.ndarray):  # awkward knows the byte order of the machine only
        column = ak.Array(column.astype(column.dtype.newbyteorder("=")))
    layout = _without_missing(ak.to_layout(ak.to_packed(ak.materialize(column))), name, "row")
    if layout.is_unknown:  # no row at all, as of ak.Array([])
        return np.empty(0, np.float32), np.zeros(1, np.int64)
    if layout.is_numpy and layout.purelist_depth == 2:
        layout = layout.to_RegularArray()
    if layout.is_list:
        layout = layout.to_ListOffsetArray64(True)
        offsets = layout.offsets.data
        content = _without_missing(layout.content[: offsets[-1]], name, "item")
        if content.is_unknown or (content.is_numpy and content.data.dtype.kind in "biuf"):
            return np.asarray(content.to_backend_array()), offsets
    msg = f"from_awkward: '{name}' is {ak.type(column)}; needed: rows * var * number"
    raise DataError(msg)


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
