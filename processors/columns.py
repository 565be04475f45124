"""Columns in and out of a chunk: plain arrays, and the saved part."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hepcalib import ntuples

if TYPE_CHECKING:
    from collections.abc import Mapping

    import awkward as ak
    from numpy.typing import NDArray

__all__ = ["floats", "in_place", "save_columns"]


def floats(objects: ak.Array, column: str) -> NDArray[np.float64]:
    """Return a column of a flat record as a float64 array."""
    return np.asarray(objects[column], dtype=np.float64)


def in_place(values: NDArray[Any], kept: NDArray[np.bool_]) -> NDArray[Any]:
    """Return the values of the objects that were kept, NaN (False for bool) in the other places.

    Args:
        values: One per object that was kept, float64 or bool.
        kept: Which of all objects they are (rows,).
    """
    full = np.full(kept.shape, False if values.dtype == bool else np.nan, dtype=values.dtype)
    full[kept] = values
    return full


def save_columns(folder: str, events: ak.Array, columns: Mapping[str, NDArray[Any]]) -> None:
    """Save the per-object output of a chunk into the folder of its dataset."""
    ntuples.save_part(Path(folder) / events.metadata["dataset"], events.metadata, columns)
