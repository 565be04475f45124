"""The nearest items of the same row, for rows of any length and without compiled extensions."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch.nn import functional

from hepcalib.exceptions import ConfigError, ShapeError

if TYPE_CHECKING:
    from torch import Tensor

    from hepcalib.ragged import Bucket, Ragged

__all__ = ["Neighbours", "neighbours"]

# Pairs of items at a time, so that their distances stay in the cache, or in the memory of a GPU.
CELLS, GPU_CELLS = 131_072, 33_554_432
FEW = 3  # dimensions up to which distances are made of differences
LAST = torch.iinfo(torch.int64).max
LOW = 0xFFFF_FFFF


class Neighbours:
    r"""Finds the k nearest others of each item in its row; the rows are known, the points not yet.

    Of n items in a row, each has min(k, n - 1) neighbours; the item itself is none of them. Of
    equally far ones, to the precision of float32, the first in the row is nearer. What depends on
    the lengths of the rows only is computed once, for any number of ``index`` of the same rows.

    Args:
        rows: The rows; their values are not used.
        k: Number of neighbours, at least 1.

    Raises:
        ConfigError: if k is less than 1.
    """

    def __init__(self, rows: Ragged, *, k: int) -> None:
        if k < 1:
            msg = f"Neighbours: k is {k}; needed: at least 1"
            raise ConfigError(msg)
        self.k, self.items, self._rows = k, rows.items, rows
        self.counts = (rows.repeat(rows.counts) - 1).clamp(max=k)  # (items,), of each item

    @cached_property
    def mask(self) -> Tensor:
        """Which of the k places of each item hold a neighbour, (items, k) bool."""
        place = torch.arange(self.k, device=self.counts.device)
        return place < self.counts.unsqueeze(1)

    @cached_property
    def everywhere(self) -> bool:
        """Whether every item has k neighbours."""
        return not any(part.uneven for part in self._parts)

    def index(self, points: Tensor) -> Tensor:
        """Return the neighbours of each item by their numbers.

        On a CPU the nearest one comes first, whatever the other rows are: a sum over neighbours is
        then the same to the last bit. There is no gradient towards the points.

        Shapes:
            points: (items, dimensions) -> (items, k) int64, 0 where the mask is False

        Raises:
            ShapeError: if there is not one point per item.
        """
        if points.dim() != 2 or len(points) != self.items:
            seen = tuple(points.shape)
            msg = f"Neighbours: points of shape {seen}; needed: ({self.items}, dimensions)"
            raise ShapeError(msg)
        points = points.detach()
        found = [self._of_part(points, part) for part in self._parts]
        if not found:
            return self.counts.new_zeros(0, self.k)
        return torch.cat(found).index_select(0, self._order)

    def _of_part(self, points: Tensor, part: _Part) -> Tensor:
        index = part.bucket.items
        # Distance and number as one integer: floats that are not negative sort as their bits do.
        # Those of NaN, and of what rounding has left of zero, may be negative.
        keys = _squared_distances(points[index]).float().abs().view(torch.int32).long()
        keys = keys.bitwise_left_shift_(32).bitwise_or_(part.low)
        most = min(self.k, index.shape[1])
        ordered = part.uneven or keys.is_cpu
        chosen = keys.topk(most, largest=False, sorted=ordered).values.bitwise_and_(LOW)
        numbers = chosen.add_(index[:, 0].view(-1, 1, 1)).flatten(0, 1)
        if part.places is not None:
            numbers = numbers.index_select(0, part.places)
        if part.uneven:
            numbers = functional.pad(numbers, (0, self.k - most))
            numbers = torch.where(self.mask.index_select(0, part.items), numbers, 0)
        return numbers

    @cached_property
    def _parts(self) -> list[_Part]:
        cells = CELLS if self.counts.is_cpu else GPU_CELLS
        return [_part(bucket, self.k) for bucket in self._rows.buckets(cells)]

    @cached_property
    def _order(self) -> Tensor:
        """Where each item is among those of the parts, one after the other."""
        items = torch.cat([part.items for part in self._parts])
        return torch.empty_like(items).index_copy_(0, items, torch.arange(len(items)).to(items))


class _Part(NamedTuple):
    """Rows of a bucket, and what of the search for neighbours depends on their lengths only."""

    bucket: Bucket
    items: Tensor  # their numbers, one row after the other
    places: Tensor | None  # where in the bucket they are; None for everywhere
    low: Tensor  # (rows, longest, longest) int64: number in the row, or LAST for no neighbour
    uneven: bool  # whether an item has fewer neighbours than places


def _part(bucket: Bucket, k: int) -> _Part:
    longest = bucket.items.shape[1]
    place = torch.arange(longest, device=bucket.items.device)
    blocked = (place == place.unsqueeze(1)) | ~bucket.mask.unsqueeze(1)
    low = torch.where(blocked, LAST, place)
    shortest = int(bucket.mask[-1].sum())
    items, places = bucket.items.flatten(), None
    if shortest < longest:
        places = bucket.mask.flatten().nonzero().squeeze(1)
        items = items[places]
    return _Part(bucket, items, places, low, uneven=shortest <= k)  # the longest rows come first


def neighbours(points: Tensor, rows: Ragged, *, k: int) -> tuple[Tensor, Tensor]:
    r"""Return the k nearest others of each item in its row, see `Neighbours`.

    Args:
        points: Coordinates of the items, in the order of ``rows.packed()``.
        rows: The rows that the items belong to.
        k: Number of neighbours, at least 1.

    Shapes:
        points: (items, dimensions)

    Returns:
        Numbers of the neighbours, (items, k) int64, and which of them there are, (items, k) bool.

    Raises:
        ConfigError: if k is less than 1.
        ShapeError: if there is not one point per item.
    """
    found = Neighbours(rows, k=k)
    return found.index(points), found.mask


def _squared_distances(points: Tensor) -> Tensor:
    """Return the squared distance of each pair, (rows, longest, dimensions) -> (.., .., longest).

    In few dimensions from differences. In many, these cost more than the rest: a product in double
    precision loses as much to cancellation as is left beyond that of the points.
    """
    if points.shape[-1] <= FEW:
        columns = points.unbind(-1)
        return sum(
            ((column.unsqueeze(-1) - column.unsqueeze(-2)).square() for column in columns[1:]),
            (columns[0].unsqueeze(-1) - columns[0].unsqueeze(-2)).square(),
        )
    points = points.double()
    squares = points.square().sum(-1)
    sums = squares.unsqueeze(-1) + squares.unsqueeze(-2)
    return torch.baddbmm(sums, points, points.mT, alpha=-2.0)
