"""Each example once in each pass, in an order that depends on the seed and the epoch alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hepcalib.training import TrainingOptions
from hepcalib.training.order import Order

ROWS = 103


def order(**keywords: Any) -> Order:
    return Order(ROWS, TrainingOptions(**{"epochs": 4, "batch_size": 20, "seed": 3, **keywords}))


@pytest.mark.parametrize(("min_steps", "passes"), [(0, 1), (24, 1), (25, 2), (100, 5)])
def test_each_row_once_in_each_pass(min_steps: int, passes: int) -> None:
    found = order(min_steps=min_steps)
    assert found.passes == passes
    assert found.steps == 4 * passes * 6 >= min_steps
    for _ in range(4):
        batches = found.batches()
        assert len(batches) == 6 * passes
        assert {len(batch) for batch in batches} == {17, 18}  # none is nearly empty
        for number in range(passes):
            rows = torch.cat(batches[6 * number : 6 * number + 6])
            assert sorted(rows.tolist()) == list(range(ROWS))


def test_every_epoch_has_its_own() -> None:
    found, same, other = order(), order(batch_size=20), order(seed=4)
    first, second = (torch.cat(found.batches()) for _ in range(2))
    assert not torch.equal(first, second)
    assert torch.equal(torch.cat(same.batches()), first)
    assert not torch.equal(torch.cat(other.batches()), first)


def test_it_goes_on_from_its_state() -> None:
    found = order()
    found.batches()
    state = found.state
    expected = [torch.cat(found.batches()) for _ in range(2)]
    again = order(seed=9)
    again.state = state
    assert all(torch.equal(torch.cat(again.batches()), rows) for rows in expected)
