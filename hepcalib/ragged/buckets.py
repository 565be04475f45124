"""Groups of rows of similar length, for operations on pairs of items."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Bucket", "buckets"]

SIMILAR = 2 / 3  # of the longest row in a bucket, at least, are the others; up to SLACK items
SLACK = 2


class Bucket(NamedTuple):
    """Rows of similar length side by side: `values[items]` is (rows, longest, ...).

    A place without an item points to item 0 and is not in the mask.
    """

    rows: Tensor  # (rows of the bucket,) int64
    items: Tensor  # (rows of the bucket, longest) int64, into the packed items
    mask: Tensor  # (rows of the bucket, longest) bool, where there is an item


def buckets(offsets: Tensor, cells: int, *, power: int) -> list[Bucket]:
    """Return all rows that have items, in buckets of bounded size.

    Args:
        offsets: Where the rows begin and the last one ends, from 0.
        cells: Largest rows * longest**power of a bucket; a single row may have more.
        power: 1 for memory per item, 2 for memory per pair of items.

    Shapes:
        offsets: (all rows + 1,) int64
    """
    counts = offsets.diff()
    lengths, order = counts.sort(descending=True, stable=True)
    known = lengths.tolist()
    filled = int((lengths > 0).sum())
    ascending = -lengths
    found: list[Bucket] = []
    start = 0
    while start < filled:
        longest = known[start]
        shortest = max(1, int(SIMILAR * longest) - SLACK)
        similar = int(torch.searchsorted(ascending, -shortest, right=True))
        stop = max(start + 1, min(similar, start + cells // longest**power))
        rows = order[start:stop]
        place = torch.arange(longest, device=offsets.device)
        mask = place < counts[rows].unsqueeze(1)
        index = torch.where(mask, offsets[rows].unsqueeze(1) + place, 0)
        found.append(Bucket(rows, index, mask))
        start = stop
    return found
