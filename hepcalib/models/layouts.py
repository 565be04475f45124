"""Where the constituents of jets lie when jets of similar length are evaluated side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from hepcalib.models.model import checked
from hepcalib.ragged import Bucket, Ragged

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hepcalib.batch import Batch
    from hepcalib.models.model import Model

__all__ = ["Layout", "cells_on", "in_order", "layouts", "packed"]

GPU_CACHES = 64  # a GPU wants few large operations; the limit is its memory


class Layout(NamedTuple):
    """Jets that go through a network together, their constituents packed one after the other.

    A padded place repeats the first constituent of its jet: what is wrong with a jet stays there,
    and a mask is needed for the keys of an attention only.

    Shapes:
        rows: (jets,); items: (items,); offsets: (jets + 1,); places, mask: (jets of a part,
        longest) each; slots: (items,)
    """

    rows: Tensor  # numbers of the jets in their batch
    items: Tensor  # numbers of their constituents among the packed ones of the batch
    offsets: Tensor  # where each jet begins among the items
    places: tuple[Tensor, ...]  # padded parts of similar length: numbers of items
    mask: tuple[Tensor, ...]  # where these are no repetition
    slots: Tensor  # place of each item among the flattened places of all parts

    def ragged(self, values: Tensor) -> Ragged:
        """Return values of the items, jet by jet."""
        return Ragged(values, self.offsets)

    def pairs(self) -> tuple[Tensor, Tensor]:
        """Return the items i and j of all ordered pairs of different items of a jet, (pairs,)."""
        found = [torch.stack([self.items.new_empty(0)] * 2)]
        for index, mask in zip(self.places, self.mask, strict=True):
            length = mask.shape[1]
            other = ~torch.eye(length, dtype=torch.bool, device=mask.device)
            jet, first, second = (mask[:, :, None] & mask[:, None] & other).nonzero().unbind(1)
            found.append(torch.stack([index[jet, first], index[jet, second]]))
        i, j = torch.cat(found, dim=1).unbind()
        return i, j

    def triangle(self) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """Return each unordered pair once, pairs of an item with itself included.

        Returns:
            The items i and j, (pairs,) each, and for each part the number of the pair of each two
            places, (jets of the part, longest, longest); the number of pairs where the second
            place is padded.
        """
        found = [torch.stack([self.items.new_empty(0)] * 2)]
        numbers: list[tuple[Tensor, Tensor]] = []
        total = 0
        for index, mask in zip(self.places, self.mask, strict=True):
            length = mask.shape[1]
            lower = torch.ones(length, length, dtype=torch.bool, device=mask.device).tril()
            real = mask[:, :, None] & lower
            jet, first, second = real.nonzero().unbind(1)
            found.append(torch.stack([index[jet, first], index[jet, second]]))
            number = total + real.flatten().cumsum(0).view(real.shape) - 1
            number = torch.where(lower, number, number.mT)
            numbers.append((torch.where(mask[:, :, None], number, number[:, :1]), mask))
            total += len(jet)
        i, j = torch.cat(found, dim=1).unbind()
        return i, j, tuple(torch.where(mask[:, None], number, total) for number, mask in numbers)


def layouts(jets: Ragged, cells: int, *, together: bool) -> list[Layout]:
    """Return layouts that cover all jets, those without constituents included; at least one.

    Args:
        jets: The constituents.
        cells: Largest jets * longest**2 of a padded part on a CPU, see `cells_on`; a single jet
            may have more.
        together: Whether all jets are in one layout, of several parts; else each has one part.
    """
    jets = jets.packed()
    device = jets.offsets.device
    buckets = jets.buckets(cells_on(cells, device))
    if together:
        rows, items = (torch.arange(count, device=device) for count in (jets.rows, jets.items))
        return [_layout(rows, items, jets.offsets, buckets)]
    found = [_of_one(bucket) for bucket in buckets]
    empty = (jets.counts == 0).nonzero().squeeze(1)
    if len(empty) or not found:
        found.append(_layout(empty, empty[:0], empty.new_zeros(len(empty) + 1), []))
    return found


def cells_on(cells: int, device: torch.device) -> int:
    """Return how many cells of those that fit a CPU's cache a device evaluates at a time."""
    return cells if device.type == "cpu" else GPU_CACHES * cells


def packed(batch: Batch, width: int, *, model: Model) -> tuple[Ragged, Tensor]:
    """Return the packed constituents of a batch, and their values in the dtype of the model.

    Raises:
        ShapeError: if there are none, or they have another width than the model was built for.
    """
    rows = batch.rows
    given = batch.constituents
    jets = Ragged(torch.empty(0), torch.zeros(rows + 1).long()) if given is None else given.packed()
    seen = None if given is None else jets.values
    return jets, checked(seen, width, model=model, what="constituents")


def in_order(values: Sequence[Tensor], places: Sequence[Tensor]) -> Tensor:
    """Return the values of all layouts in the order of the batch.

    Args:
        values: One tensor per layout.
        places: Where each value belongs: ``rows`` or ``items`` of the layouts.
    """
    return torch.cat(list(values)).index_select(0, torch.cat(list(places)).argsort())


def _of_one(bucket: Bucket) -> Layout:
    """Return the layout of the rows of one bucket."""
    counts = bucket.mask.sum(1)
    offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    index = bucket.mask.flatten().cumsum(0).view(bucket.mask.shape) - 1
    items = bucket.items[bucket.mask]
    return _layout(bucket.rows, items, offsets, [bucket._replace(items=index)])


def _layout(rows: Tensor, items: Tensor, offsets: Tensor, parts: Sequence[Bucket]) -> Layout:
    slots = torch.empty_like(items)
    start = 0
    for _, index, mask in parts:
        slots[index[mask]] = start + mask.flatten().nonzero().squeeze(1)
        start += mask.numel()
    places = tuple(torch.where(part.mask, part.items, part.items[:, :1]) for part in parts)
    return Layout(rows, items, offsets, places, tuple(part.mask for part in parts), slots)
