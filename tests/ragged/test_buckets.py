"""Rows of similar length side by side."""

from __future__ import annotations

import pytest
import torch

from hepcalib.ragged import Ragged


def sets(counts: list[int]) -> Ragged:
    lengths = torch.tensor(counts, dtype=torch.int64)
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
    return Ragged(torch.arange(float(lengths.sum())), offsets)


def random_counts(largest: int, rows: int = 200) -> list[int]:
    generator = torch.Generator().manual_seed(1)
    counts: list[int] = torch.randint(0, largest, (rows,), generator=generator).tolist()
    return counts


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("cells", [1, 50, 3000, 10**9])
def test_every_item_is_in_one_place(cells: int, power: int) -> None:
    rows = sets(random_counts(30))
    found = rows.buckets(cells, power=power)
    places = torch.cat([bucket.items[bucket.mask] for bucket in found])
    assert torch.equal(places.sort().values, torch.arange(rows.items))
    with_items = (rows.counts > 0).nonzero().squeeze(1)
    assert torch.equal(torch.cat([b.rows for b in found]).sort().values, with_items)
    for bucket in found:
        assert torch.equal(bucket.mask.sum(1), rows.counts[bucket.rows])
        assert torch.equal(rows.row_ids()[bucket.items[:, 0]], bucket.rows)


@pytest.mark.parametrize("power", [1, 2])
def test_buckets_are_bounded_and_hardly_padded(power: int) -> None:
    found = sets(random_counts(300)).buckets(20_000, power=power)
    for bucket in found:
        count, longest = bucket.items.shape
        assert count == 1 or count * longest**power <= 20_000
        assert bucket.mask.sum(1).max() == longest
        assert bucket.mask.sum(1).min() >= min(longest, max(1, int(2 / 3 * longest) - 2))
    assert len(found) < 200
    assert any(len(bucket.rows) > 1 for bucket in found)


def test_a_long_row_is_alone() -> None:
    found = sets([3, 2000, 4, 1]).buckets(100)
    assert [bucket.rows.tolist() for bucket in found] == [[1], [2, 0, 3]]


def test_rows_of_a_slice_belong_to_the_packed_items() -> None:
    rows = sets([5, 3, 4, 2]).select(slice(1, 4))
    (bucket,) = rows.buckets(1000)
    values = torch.where(bucket.mask, rows.packed().values[bucket.items], -1.0)
    assert values.tolist() == [[8, 9, 10, 11], [5, 6, 7, -1], [12, 13, -1, -1]]


def test_no_rows_and_no_items() -> None:
    assert sets([]).buckets(10) == []
    assert sets([0, 0]).buckets(10) == []
