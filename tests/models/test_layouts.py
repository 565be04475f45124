from __future__ import annotations

import pytest
import torch

from hepcalib.batch import Batch
from hepcalib.exceptions import ShapeError
from hepcalib.models import PFN, NormalHead
from hepcalib.models.layouts import cells_on, in_order, layouts, packed
from hepcalib.ragged import Ragged

COUNTS = (4, 0, 1, 7, 0, 2, 3)
CPU = torch.device("cpu")


def jets(counts: tuple[int, ...] = COUNTS) -> Ragged:
    """Items that are numbered."""
    offsets = torch.tensor([0, *counts]).cumsum(0)
    return Ragged(torch.arange(int(offsets[-1])), offsets)


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("cells", [1, 20, 1000])
def test_every_jet_and_item_is_in_one_layout(cells: int, together: bool) -> None:
    rows = jets()
    found = layouts(rows, cells, together=together)
    assert len(found) == 1 or not together
    assert sorted(torch.cat([group.rows for group in found]).tolist()) == list(range(7))
    for group in found:
        part = group.ragged(rows.values[group.items])
        assert part.tolist() == rows.select(group.rows).tolist()
        places = [values.flatten() for values in group.places]
        if places:
            assert torch.equal(torch.cat(places)[group.slots], torch.arange(len(group.items)))
        for values, mask in zip(group.places, group.mask, strict=True):
            assert mask[:, 0].all()
            assert mask.numel() * mask.shape[1] <= max(cells, mask.shape[1] ** 2)
            # Padded places repeat the first item of the same jet.
            assert torch.equal(values.where(~mask, values[:, :1]), values[:, :1].expand_as(values))


@pytest.mark.parametrize("together", [False, True])
def test_pairs_are_those_of_a_jet(together: bool) -> None:
    rows = jets()
    expected = [(i, j) for row in rows.tolist() for i in row for j in row if i != j]
    found: list[tuple[int, int]] = []
    for group in layouts(rows, 30, together=together):
        i, j = (group.items[item].tolist() for item in group.pairs())
        found += zip(i, j, strict=True)
    assert sorted(found) == expected


@pytest.mark.parametrize("together", [False, True])
def test_each_unordered_pair_has_one_number(together: bool) -> None:
    rows = jets()
    expected = [(i, j) for row in rows.tolist() for i in row for j in row if i >= j]
    found: list[tuple[int, int]] = []
    for group in layouts(rows, 30, together=together):
        i, j, numbers = group.triangle()
        found += zip(group.items[i].tolist(), group.items[j].tolist(), strict=True)
        for places, mask, number in zip(group.places, group.mask, numbers, strict=True):
            for jet, first, second in torch.cartesian_prod(
                *(torch.arange(size) for size in number.shape)
            ).tolist():
                pair = int(number[jet, first, second])
                if not mask[jet, second]:
                    assert pair == len(i)
                else:
                    both = {int(places[jet, first]), int(places[jet, second])}
                    assert {int(i[pair]), int(j[pair])} == both
    assert sorted(found) == expected


def test_results_return_to_the_order_of_the_batch() -> None:
    rows = jets()
    found = layouts(rows, 20, together=False)
    assert len(found) > 2
    items = in_order([rows.values[group.items] for group in found], [part.items for part in found])
    assert torch.equal(items, rows.values)
    counts = in_order([rows.counts[part.rows] for part in found], [part.rows for part in found])
    assert torch.equal(counts, rows.counts)


@pytest.mark.parametrize("counts", [(), (0,), (0, 0, 0)])
@pytest.mark.parametrize("together", [False, True])
def test_nothing_to_lay_out(counts: tuple[int, ...], together: bool) -> None:
    (group,) = layouts(jets(counts), 100, together=together)
    assert len(group.rows) == len(counts)
    assert group.ragged(group.items).tolist() == [[]] * len(counts)
    i, j, numbers = group.triangle()
    assert len(i) == len(j) == len(numbers) == len(group.pairs()[0]) == 0


def test_offsets_may_start_anywhere() -> None:
    loose = Ragged(torch.arange(-2, 20), jets().offsets + 2)
    batch = Batch(constituents=loose.map(lambda values: values.unsqueeze(1)))
    model = PFN(constituents=1, head=NormalHead())
    found, values = packed(batch, 1, model=model)
    assert found.offsets[0] == 0
    assert values.flatten().tolist() == list(range(17))
    assert values.dtype == torch.float32
    groups = layouts(found, 20, together=False)
    assert sorted(torch.cat([group.items for group in groups]).tolist()) == list(range(17))


def test_other_widths_are_refused() -> None:
    model = PFN(constituents=2, head=NormalHead())
    with pytest.raises(ShapeError, match=r"PFN: constituents of the batch: none; needed: \(.*2\)"):
        packed(Batch(torch.zeros(3, 1)), 2, model=model)
    batch = Batch(constituents=Ragged(torch.zeros(3, 1), torch.tensor([0, 3])))
    with pytest.raises(ShapeError, match=r"shape \(3, 1\); needed: \(\.\.\., 2\)"):
        packed(batch, 2, model=model)


def test_a_gpu_gets_more_at_a_time() -> None:
    assert cells_on(100, CPU) == 100
    assert cells_on(100, torch.device("cuda")) > 1000
