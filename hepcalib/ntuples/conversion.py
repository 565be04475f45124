"""From the numbers of a branch to a standard column: its unit, its codes, its type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hepcalib.casting import Misfit
from hepcalib.ntuples.columns import STANDARD, UNITS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hepcalib.ntuples.branches import Branches
    from hepcalib.ntuples.layout import Column, Layout

    Rows = NDArray[np.int64] | None

__all__ = ["converted"]


def converted(
    layout: Layout,
    name: str,
    branches: Branches,
    *,
    size: int,
    collection: str = "",
    rows: Rows = None,
) -> NDArray[Any]:
    """Return a column in its standard unit and type; the default where the file has none.

    Args:
        layout: The layout of the file.
        name: The standard column.
        branches: The branches of the file.
        size: How many values the column has.
        collection: Prefix of the objects that have one value each; none is one per event.
        rows: Which of all values of the branch are wanted; None is all.

    Raises:
        NtupleError: if a branch cannot be read.
        DataError: if the column cannot hold a value: what is no whole number where it has codes
            or identities, or what is finite in the file and beyond the column's range.
    """
    dtype = np.dtype(STANDARD[layout.object][name].dtype)
    column = layout.columns.get(name)
    if column is None or (column.branch not in branches and not column.required):
        return np.full(size, layout.default(name), dtype)
    values = _load(branches, column.branch, collection, rows)
    if column.factors or UNITS[column.unit] != 1.0:
        values = _scaled(values, column, branches, collection, rows)
    values = branches.cast(values, dtype, branch=column.branch, collection=collection, rows=rows)
    if column.codes:
        known = [values == code for code, _ in column.codes]
        codes = [code for _, code in column.codes]
        values = np.select(known, codes, dtype.type(layout.default(name)))
    return values


def _load(branches: Branches, branch: str, collection: str, rows: Rows) -> NDArray[Any]:
    values = branches.values(branch, collection)
    return values if rows is None else values[rows]


def _scaled(
    values: NDArray[Any], column: Column, branches: Branches, collection: str, rows: Rows
) -> NDArray[np.float64]:
    """Return values in the standard unit, times the factors."""
    known = np.isfinite(values)
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = values.astype(np.float64) * UNITS[column.unit]
        for factor in column.factors:
            other = _load(branches, factor.branch, collection, rows).astype(np.float64)
            known &= np.isfinite(other)
            scaled *= 1.0 - other if factor.complement else other
    lost = np.flatnonzero(known & ~np.isfinite(scaled))
    if len(lost):
        needed = "a product with its unit and factors that is finite in float64"
        found = Misfit(int(lost[0]), len(lost), scaled[lost[0]], needed)
        branches.refuse(found, column.branch, collection=collection, rows=rows)
    return scaled
