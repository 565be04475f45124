"""Features of standard columns as matrices, in blocks; what no model could use is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from hepcalib.exceptions import DataError
from hepcalib.features.catalogue import CATALOGUE
from hepcalib.features.table import CONSTITUENTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from hepcalib.features.table import Table

__all__ = ["matrices"]

# Objects plus constituents whose features are computed together, so that they stay in the cache.
BLOCK = 65_536


def matrices(
    table: Table,
    features: Sequence[str],
    constituents: Sequence[str],
    *,
    order: Literal["C", "F"] = "C",
) -> tuple[Tensor | None, Tensor | None]:
    """Compute the features of the objects and of their constituents by their keys.

    Args:
        table: The objects, or some of them.
        features: Catalogue keys of the object features.
        constituents: Catalogue keys of the constituent features.
        order: How they lie in memory, item by item (C) or feature by feature (F).

    Returns:
        (rows, features) and (items, constituents), None for those not asked for; float32, or
        float64 where one of them is a component of a momentum.

    Raises:
        DataError: if a feature is not finite, or a constituent has pt <= 0.
    """
    objects = items = None
    if features:
        objects = np.empty((table.rows, len(features)), _dtype(features), order)
    if constituents:
        shape = int(table.offsets[-1]), len(constituents)
        items = np.empty(shape, _dtype(constituents), order)
    for block in table.blocks(BLOCK):
        part = table.part(block)
        _require_sound(part, positive=items is not None)
        if objects is not None:
            _fill(objects[block], features, part)
        if items is not None:
            start, stop = table.offsets[[block.start, block.stop]].tolist()
            _fill(items[start:stop], constituents, part)
    return (
        None if objects is None else torch.from_numpy(objects),
        None if items is None else torch.from_numpy(items),
    )


def _dtype(keys: Sequence[str]) -> type[np.floating[Any]]:
    return np.float64 if any(CATALOGUE[key].double for key in keys) else np.float32


def _fill(matrix: NDArray[np.floating[Any]], keys: Sequence[str], part: Table) -> None:
    """Compute features into the columns of a matrix and refuse what is not finite."""
    for index, key in enumerate(keys):
        values = CATALOGUE[key].compute(part)
        with np.errstate(over="ignore"):
            matrix[:, index] = values
        finite = np.isfinite(matrix[:, index])
        if not finite.all():
            bad = np.flatnonzero(~finite)
            msg = (
                f"feature '{key}' is not finite for {len(bad)} of {len(values)}{_rows(part)}, "
                f"first in row {_place(part, bad[0], CATALOGUE[key].kind)}: {values[bad[0]]}, from "
                f"{', '.join(CATALOGUE[key].needs)}"
            )
            raise DataError(msg)


def _require_sound(part: Table, *, positive: bool) -> None:
    """Refuse constituents whose features would be wrong without looking so.

    Args:
        part: The objects.
        positive: Whether a momentum of 0 is refused, which as an input of its own has no logarithm.
    """
    for name in (name for name in ("pt", "pdg_id") if name in part.constituents):
        values = part[f"{CONSTITUENTS}.{name}"]
        sound = _is_whole(values) if name == "pdg_id" else np.isfinite(values)
        if positive and name == "pt":
            sound &= values > 0
        if not sound.all():
            bad = np.flatnonzero(~sound)
            lack, unit = ("no positive pt", " GeV") if name == "pt" else ("no whole pdg_id", "")
            msg = (
                f"{len(bad)} of {len(values)} constituents{_rows(part)} have {lack}, first in row "
                f"{_place(part, bad[0], 'constituent')}: {values[bad[0]]}{unit}; drop them when "
                "the ntuple is read"
            )
            raise DataError(msg)


def _is_whole(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray((values == np.floor(values)) & (np.abs(values) < 2.0**53))


def _rows(part: Table) -> str:
    """Return which rows a block is of, unless it begins the table."""
    return f" in rows {part.first}-{part.first + part.rows - 1}" if part.first else ""


def _place(part: Table, position: int, kind: str) -> str:
    """Return the row of a value, and which constituent of it if it is of one."""
    if kind == "object":
        return str(part.first + position)
    row = int(np.searchsorted(part.offsets, position, side="right")) - 1
    return f"{part.first + row} (constituent {position - int(part.offsets[row])})"
