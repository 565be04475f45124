"""What a model sees of its objects: features per object and, for jets, their constituents."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from hepcalib.exceptions import ShapeError

if TYPE_CHECKING:
    from typing import Self

    from hepcalib.ragged import Ragged

__all__ = ["Batch"]


class Batch(NamedTuple):
    """Objects in rows; at least one of the two is given, and both have as many rows.

    Shapes:
        features: (rows, features); constituents: rows of (features,) items
    """

    features: Tensor | None = None
    constituents: Ragged | None = None

    @property
    def rows(self) -> int:
        """Number of objects.

        Raises:
            ShapeError: if both parts are absent or differ in the number of rows.
        """
        if self.features is not None and self.features.dim() != 2:
            msg = f"Batch: features of shape {tuple(self.features.shape)}; needed: (rows, features)"
            raise ShapeError(msg)
        if self.constituents is not None and self.constituents.values.dim() != 2:
            shape = tuple(self.constituents.values.shape)
            msg = f"Batch: constituent values of shape {shape}; needed: (items, features)"
            raise ShapeError(msg)
        rows = [] if self.features is None else [len(self.features)]
        rows += [] if self.constituents is None else [self.constituents.rows]
        if len(set(rows)) != 1:
            seen = f"{rows[0]} rows of features, {rows[1]} of constituents" if rows else "nothing"
            msg = f"Batch: {seen}; needed: features, constituents or both with as many rows"
            raise ShapeError(msg)
        return rows[0]

    def select(self, rows: Tensor | slice) -> Self:
        """Return some of the objects: row numbers (int64), a mask (bool) or a slice."""
        count = self.rows
        if isinstance(rows, Tensor) and rows.dtype == torch.bool and rows.shape != (count,):
            msg = f"Batch.select: mask of shape {tuple(rows.shape)} for {count} rows"
            raise ShapeError(msg)
        return self._replace(
            features=None if self.features is None else self.features[rows],
            constituents=None if self.constituents is None else self.constituents.select(rows),
        )

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Self:
        """Return the same objects on another device or with values of another type."""
        return self._replace(
            features=None if self.features is None else self.features.to(device, dtype),
            constituents=None if self.constituents is None else self.constituents.to(device, dtype),
        )
