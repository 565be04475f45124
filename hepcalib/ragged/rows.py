"""Rows of different length without padding: values in one tensor, and where the rows end."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from hepcalib.exceptions import ShapeError
from hepcalib.ragged.buckets import buckets

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hepcalib.ragged.buckets import Bucket

__all__ = ["Ragged"]


@dataclass(frozen=True, eq=False)
class Ragged:
    r"""Rows of different length: row i is ``values[offsets[i]:offsets[i + 1]]``.

    A row may be empty, the offsets may not start at zero and the values may be longer than the
    last offset: a slice of rows shares the memory of its parent. What is computed per item
    (``row_ids``, ``map``, ``repeat``, ``softmax``) belongs to the items of ``packed()``.
    Reductions of an empty row are 0 and have gradient 0.

    Args:
        values: The items of all rows, one after the other.
        offsets: Where each row begins and the last one ends; never decreasing.

    Shapes:
        values: (at least offsets[-1], ...); offsets: (rows + 1,) int64

    Raises:
        ShapeError: if the offsets are no offsets into the values.
    """

    values: Tensor
    offsets: Tensor

    def __post_init__(self) -> None:
        offsets = self.offsets
        if offsets.dtype != torch.int64 or offsets.dim() != 1 or len(offsets) == 0:
            seen = f"{offsets.dtype} {tuple(offsets.shape)}"
            msg = f"Ragged: offsets are {seen}; needed: int64 (rows + 1,)"
            raise ShapeError(msg)
        if self.values.dim() == 0:
            msg = "Ragged: values are a scalar; needed: (items, ...)"
            raise ShapeError(msg)
        if offsets.device != self.values.device:
            msg = f"Ragged: offsets are on {offsets.device}, values on {self.values.device}"
            raise ShapeError(msg)
        first, last = self._bounds
        if first < 0 or last > len(self.values) or bool((offsets.diff() < 0).any()):
            seen = f"from {first} to {last} for {len(self.values)} values"
            msg = f"Ragged: offsets {seen}; needed: within the values and never decreasing"
            raise ShapeError(msg)

    def __reduce__(self) -> tuple[Any, ...]:
        packed = self.packed()
        return Ragged, (packed.values.clone(), packed.offsets.clone())

    @classmethod
    def from_rows(
        cls, rows: Sequence[Sequence[Any]], *, dtype: torch.dtype = torch.float32
    ) -> Ragged:
        """Return the rows of nested lists, of numbers or of equally long lists of numbers."""
        lengths = torch.tensor([len(row) for row in rows], dtype=torch.int64)
        values = torch.tensor([item for row in rows for item in row], dtype=dtype)
        return cls(values, _offsets(lengths))

    @staticmethod
    def cat(parts: Sequence[Ragged]) -> Ragged:
        """Return the rows of all parts, in order.

        Raises:
            ShapeError: if there is no part.
        """
        if not parts:
            msg = "Ragged.cat: no parts; needed: at least one Ragged"
            raise ShapeError(msg)
        values = torch.cat([part.packed().values for part in parts])
        return Ragged(values, _offsets(torch.cat([part.counts for part in parts])))

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.offsets) - 1

    @property
    def items(self) -> int:
        """Number of items in all rows."""
        first, last = self._bounds
        return last - first

    @property
    def counts(self) -> Tensor:
        """Number of items of each row, (rows,) int64."""
        return self.offsets.diff()

    def row_ids(self) -> Tensor:
        """Return the row number of each item of ``packed()``, (items,) int64; computed once."""
        return self._row_ids

    def packed(self) -> Ragged:
        """Return the canonical form: offsets from zero, no value outside the rows; a view."""
        first, last = self._bounds
        if (first, last) == (0, len(self.values)):
            return self
        return Ragged(self.values[first:last], self.offsets - first)

    def sum(self) -> Tensor:
        """Return the sum of each row, (rows, ...); 0 for an empty row."""
        values = self._numbers()
        zeros = values.new_zeros((self.rows, *values.shape[1:]))
        return zeros.index_add(0, self._row_ids, values)

    def mean(self) -> Tensor:
        """Return the mean of each row, (rows, ...); 0 for an empty row."""
        total = self.sum()
        counts = self.counts.clamp(min=1).view(-1, *[1] * (total.dim() - 1))
        return total / counts

    def max(self) -> Tensor:
        """Return the largest value of each row, (rows, ...); 0 for an empty row."""
        return self._extreme("amax")

    def min(self) -> Tensor:
        """Return the smallest value of each row, (rows, ...); 0 for an empty row."""
        return self._extreme("amin")

    def softmax(self) -> Ragged:
        """Return exp(value) over its sum in the row; an empty row stays empty."""
        packed, ids = self.packed(), self._row_ids
        # The gradient does not depend on the shift, which only keeps the exponential finite.
        shift = self.max().detach().index_select(0, ids)
        weights = Ragged((packed.values - shift).exp_(), packed.offsets)
        return Ragged(weights.values / weights.sum().index_select(0, ids), weights.offsets)

    def select(self, rows: Tensor | slice) -> Ragged:
        """Return some rows, in the order asked for; a contiguous slice copies nothing.

        Args:
            rows: Row numbers (int64, may repeat), a mask (bool, one per row) or a slice.

        Raises:
            ShapeError: if a mask has another length than there are rows, or the type does not fit.
        """
        if isinstance(rows, slice):
            start, stop, step = rows.indices(self.rows)
            if step == 1:
                return Ragged(self.values, self.offsets[start : max(start, stop) + 1])
            rows = torch.arange(start, stop, step, device=self.offsets.device)
        if rows.dtype == torch.bool:
            if rows.shape != (self.rows,):
                msg = f"Ragged.select: mask of shape {tuple(rows.shape)} for {self.rows} rows"
                raise ShapeError(msg)
            rows = rows.nonzero().squeeze(1)
        if rows.dtype != torch.int64 or rows.dim() != 1:
            msg = f"Ragged.select: {rows.dtype} {tuple(rows.shape)}; needed: int64 or bool (rows,)"
            raise ShapeError(msg)
        rows = rows.to(self.offsets.device)
        offsets = _offsets(self.counts[rows])
        shift = self.offsets[:-1][rows] - offsets[:-1]
        items = int(offsets[-1])
        index = torch.arange(items, device=offsets.device)
        index += shift.repeat_interleave(offsets.diff(), output_size=items)
        return Ragged(self.values.index_select(0, index), offsets)

    def blocks(self, items: int) -> list[slice]:
        """Return slices that cover all rows, each of at most that many items or of one row."""
        edges, start, slices = self.offsets.cpu(), 0, []
        while start < self.rows:
            end = int(torch.searchsorted(edges, edges[start] + items, right=True)) - 1
            slices.append(slice(start, max(start + 1, end)))
            start = slices[-1].stop
        return slices

    def buckets(self, cells: int, *, power: int = 2) -> list[Bucket]:
        """Return all rows that have items, those of similar length side by side.

        Args:
            cells: Largest rows * longest**power of a bucket; a single row may have more.
            power: 1 for memory per item, 2 for memory per pair of items.

        Returns:
            Buckets whose items are those of ``packed()``.
        """
        return buckets(self.packed().offsets, cells, power=power)

    def map(self, function: Callable[[Tensor], Tensor]) -> Ragged:
        """Return the rows of function(values), which keeps the number of items.

        Raises:
            ShapeError: if the function changes the number of items.
        """
        packed = self.packed()
        values = function(packed.values)
        if values.shape[:1] != packed.values.shape[:1]:
            msg = f"Ragged.map: {packed.items} items became {tuple(values.shape)}; needed: as many"
            raise ShapeError(msg)
        return Ragged(values, packed.offsets)

    def repeat(self, per_row: Tensor) -> Tensor:
        """Return the value of its row for each item, (rows, ...) -> (items, ...).

        Raises:
            ShapeError: if there is not one value per row.
        """
        if per_row.shape[:1] != (self.rows,):
            msg = f"Ragged.repeat: {tuple(per_row.shape)} for {self.rows} rows; needed: (rows, ...)"
            raise ShapeError(msg)
        return per_row.index_select(0, self._row_ids)

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> Ragged:
        """Return the same rows on another device or with values of another type."""
        target = self.values.device if device is None else torch.device(device)
        if target == self.values.device and dtype in {None, self.values.dtype}:
            return self
        packed = self.packed()
        return Ragged(packed.values.to(target, dtype), packed.offsets.to(target))

    def tolist(self) -> list[list[Any]]:
        """Return the rows as nested lists."""
        packed = self.packed()
        values, edges = packed.values.tolist(), packed.offsets.tolist()
        return [values[start:stop] for start, stop in pairwise(edges)]

    @cached_property
    def _bounds(self) -> tuple[int, int]:
        first, last = self.offsets[[0, -1]].tolist()
        return first, last

    @cached_property
    def _row_ids(self) -> Tensor:
        with torch.inference_mode(False):  # autograd refuses to save an index made in inference
            rows = torch.arange(self.rows, device=self.offsets.device)
            return rows.repeat_interleave(self.counts, output_size=self.items)

    def _numbers(self) -> Tensor:
        values = self.packed().values
        return values.long() if values.dtype == torch.bool else values

    def _extreme(self, reduce: str) -> Tensor:
        values = self._numbers()
        # Start from the identity, not from 0: a 0 equal to the result would share its gradient.
        identity = _lowest(values.dtype) if reduce == "amax" else _highest(values.dtype)
        shape = (-1, *[1] * (values.dim() - 1))
        start = values.new_full((self.rows, *values.shape[1:]), identity)
        ids = self._row_ids.view(shape).expand_as(values)
        result = start.scatter_reduce(0, ids, values, reduce)
        return torch.where((self.counts > 0).view(shape), result, 0)


def _offsets(counts: Tensor) -> Tensor:
    return torch.cat([counts.new_zeros(1), counts.cumsum(0)])


def _lowest(dtype: torch.dtype) -> float:
    return -math.inf if dtype.is_floating_point else torch.iinfo(dtype).min


def _highest(dtype: torch.dtype) -> float:
    return math.inf if dtype.is_floating_point else torch.iinfo(dtype).max
