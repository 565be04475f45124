from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.func import vmap

from hepcalib.exceptions import ConfigError, ShapeError
from hepcalib.models import neighbours as neighbours_module
from hepcalib.models.neighbours import Neighbours, neighbours
from hepcalib.ragged import Ragged

COUNTS = (9, 0, 1, 30, 4, 0, 17, 2, 65)
dimensions = pytest.mark.parametrize("dimension", [1, 2, 3, 4, 40])


def rows(counts: tuple[int, ...] = COUNTS) -> Ragged:
    offsets = torch.tensor([0, *counts]).cumsum(0)
    return Ragged(torch.zeros(int(offsets[-1]), 1), offsets)


def points(of: Ragged, dimension: int, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(dimension)
    return torch.randn(of.items, dimension, generator=generator).to(dtype)


def brute_force(found: Tensor, of: Ragged, k: int) -> list[set[int]]:
    """The neighbours of each item, from all distances in double precision."""
    sets = []
    x = found.double().numpy()
    for start, stop in zip(of.offsets[:-1].tolist(), of.offsets[1:].tolist(), strict=True):
        for item in range(start, stop):
            distances = np.square(x[start:stop] - x[item]).sum(1)
            distances[item - start] = np.inf
            nearest = np.argsort(distances, kind="stable")[: min(k, stop - start - 1)]
            sets.append({start + int(number) for number in nearest})
    return sets


def as_sets(index: Tensor, mask: Tensor) -> list[set[int]]:
    return [set(row[real].tolist()) for row, real in zip(index, mask, strict=True)]


@dimensions
@pytest.mark.parametrize("k", [1, 7, 16, 100])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_are_those_of_all_distances(dimension: int, k: int, dtype: torch.dtype) -> None:
    of = rows()
    x = points(of, dimension, dtype)
    index, mask = neighbours(x, of, k=k)
    assert index.shape == mask.shape == (of.items, k)
    assert index.dtype == torch.int64
    assert torch.equal(mask.sum(1), (of.repeat(of.counts) - 1).clamp(max=k))
    assert torch.equal(index[~mask], torch.zeros_like(index[~mask]))
    assert as_sets(index, mask) == brute_force(x, of, k)


@dimensions
@pytest.mark.parametrize("cells", [1, 50, 5000])
def test_blocks_do_not_matter(dimension: int, cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    of = rows()
    x = points(of, dimension)
    expected = neighbours(x, of, k=5)[0]
    monkeypatch.setattr(neighbours_module, "CELLS", cells)
    assert torch.equal(neighbours(x, of, k=5)[0], expected)


@dimensions
def test_the_nearest_one_comes_first_whatever_the_padding(dimension: int) -> None:
    of = rows((65, 60, 60, 9))
    x = points(of, dimension)
    together = neighbours(x, of, k=5)[0]
    distances = (x.double()[together] - x.double().unsqueeze(1)).square().sum(2)
    assert bool((distances.diff(dim=1) >= -1e-6).all())
    start = 0
    for row, count in enumerate(of.counts.tolist()):
        alone = neighbours(x[start : start + count], of.select(slice(row, row + 1)), k=5)[0]
        assert torch.equal(alone + start, together[start : start + count])
        start += count


@dimensions
def test_points_far_from_the_origin_have_the_same_neighbours(dimension: int) -> None:
    """Distances are not the difference of large squares, or not in their precision."""
    of = rows((65, 30))
    step = 2.0**-12  # all coordinates and their sums are exact in float32
    x = (points(of, dimension) / step).round() * step
    far = x + 64.0
    assert torch.equal(far - 64.0, x)
    expected = brute_force(x, of, 4)
    assert brute_force(far, of, 4) == expected
    if dimension != 1:  # on so coarse a line, some are equally far
        assert as_sets(*neighbours(far, of, k=4)) == expected
    squares = far.square().sum(1)
    coarse = squares.unsqueeze(1) + squares - 2.0 * far @ far.T
    exact = torch.cdist(x.double(), x.double()).square()
    assert (coarse - exact).abs().max() > 1e-4  # a product in single precision would not do


@pytest.mark.parametrize("dimension", [2, 8])
def test_of_equally_far_ones_the_first_are_taken(dimension: int) -> None:
    of = rows((3, 6))
    index, mask = neighbours(torch.ones(9, dimension), of, k=3)
    assert as_sets(index, mask)[:3] == [{1, 2}, {0, 2}, {0, 1}]
    assert (
        as_sets(index, mask)[3:] == [{4, 5, 6}, {3, 5, 6}, {3, 4, 6}, {3, 4, 5}] + [{3, 4, 5}] * 2
    )


def test_short_rows_beside_long_ones_have_all_others() -> None:
    of = rows((8, 7, 6, 1))
    index, mask = neighbours(points(of, 2), of, k=7)
    for item, found in enumerate(as_sets(index, mask)):
        start = max(edge for edge in of.offsets.tolist()[:-1] if edge <= item)
        stop = min(edge for edge in of.offsets.tolist() if edge > item)
        assert found == set(range(start, stop)) - {item}
    assert Neighbours(rows((8, 9)), k=7).everywhere
    assert not Neighbours(of, k=7).everywhere


def test_a_row_of_2000_items_beside_empty_ones() -> None:
    of = rows((0, 2000, 0, 3))
    x = points(of, 8)
    index, mask = neighbours(x, of, k=16)
    some = slice(100, 110)
    assert as_sets(index[some], mask[some]) == brute_force(x, of, 16)[some]
    assert index[:2000].max() < 2000
    assert index[2000:][mask[2000:]].min() >= 2000


@pytest.mark.parametrize("counts", [(), (0,), (0, 0), (1,), (1, 0, 1)])
def test_rows_without_any_neighbours(counts: tuple[int, ...]) -> None:
    of = rows(counts)
    index, mask = neighbours(points(of, 2), of, k=3)
    assert index.shape == mask.shape == (sum(counts), 3)
    assert not mask.any()


def test_rows_that_share_the_memory_of_others() -> None:
    of = rows()
    x = points(of, 2)
    part = of.select(slice(3, 7))
    found = neighbours(x[part.offsets[0] : part.offsets[-1]], part, k=4)
    expected = [{i - int(part.offsets[0]) for i in one} for one in brute_force(x, of, 4)]
    assert as_sets(*found) == expected[int(part.offsets[0]) : int(part.offsets[-1])]


def test_points_that_are_not_finite_keep_to_their_row() -> None:
    of = rows((5, 4))
    expected = brute_force(points(of, 2), of, 4)[5:]
    x = points(of, 2)
    x[1], x[2, 0] = torch.nan, torch.inf
    index, mask = neighbours(x, of, k=4)
    assert index[:5].max() < 5
    assert index[5:][mask[5:]].min() >= 5
    assert as_sets(index[5:], mask[5:]) == expected
    assert all(item not in found for item, found in enumerate(as_sets(index, mask)))


@dimensions
def test_points_of_many_networks_at_once(dimension: int) -> None:
    of = rows()
    found = Neighbours(of, k=5)
    x = torch.stack([points(of, dimension), points(of, dimension).flip(0)])
    together = vmap(found.index)(x)
    assert not torch.equal(*together)
    for one, expected in zip(together, x, strict=True):
        assert as_sets(one, found.mask) == as_sets(found.index(expected), found.mask)


def test_no_gradient_reaches_the_points() -> None:
    x = points(rows(), 2).requires_grad_()
    index, _ = neighbours(x, rows(), k=2)
    assert not index.requires_grad


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ConfigError, match="k is 0; needed: at least 1"):
        neighbours(points(rows(), 2), rows(), k=0)
    with pytest.raises(ShapeError, match=r"points of shape \(127, 2\); needed: \(128, dim"):
        neighbours(points(rows(), 2)[:-1], rows(), k=2)
