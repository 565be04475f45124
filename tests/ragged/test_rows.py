from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hepcalib.exceptions import ShapeError
from hepcalib.ragged import Ragged

if TYPE_CHECKING:
    from collections.abc import Callable

ROWS = [[30.0, 12.5], [], [7.1], [], [-1.0, 0.0, 2.0]]
REDUCTIONS: dict[str, Callable[[list[float]], float]] = {
    "sum": sum,
    "mean": lambda row: sum(row) / len(row),
    "max": max,
    "min": min,
}

rows_of_numbers = st.lists(
    st.lists(st.floats(-1e3, 1e3, width=32), max_size=5), min_size=1, max_size=8
)
deterministic = settings(derandomize=True, deadline=None, max_examples=60)


def loose(rows: list[list[float]]) -> Ragged:
    """The rows with values before the first and behind the last offset that belong to none."""
    packed = Ragged.from_rows(rows)
    values = torch.cat([torch.tensor([1e9]), packed.values, torch.tensor([-1e9, torch.nan])])
    return Ragged(values, packed.offsets + 1)


@pytest.mark.parametrize("name", REDUCTIONS)
@given(rows=rows_of_numbers)
@deterministic
def test_reductions_are_those_of_a_loop(name: str, rows: list[list[float]]) -> None:
    expected = [REDUCTIONS[name](row) if row else 0.0 for row in rows]
    for ragged in (Ragged.from_rows(rows), loose(rows)):
        found = getattr(ragged, name)()
        # float32 sums of at most five numbers below 1e3
        assert found.tolist() == pytest.approx(expected, rel=1e-6, abs=1e-3)


@given(rows=rows_of_numbers)
@deterministic
def test_softmax_is_that_of_a_loop(rows: list[list[float]]) -> None:
    weights = loose(rows).softmax()
    assert weights.counts.tolist() == [len(row) for row in rows]
    for found, row in zip(weights.tolist(), rows, strict=True):
        assert found == pytest.approx(torch.tensor(row).softmax(0).tolist(), abs=1e-6)


@pytest.mark.parametrize("name", [*REDUCTIONS, "softmax"])
def test_gradients_are_exact_and_vanish_for_values_of_no_row(name: str) -> None:
    # no ties in a row: the derivative of the maximum is not defined there
    values = torch.tensor([9.0, 0.5, -1.0, 2.0, 0.3, 0.1, 7.0], dtype=torch.float64)
    values.requires_grad_()
    offsets = torch.tensor([1, 1, 4, 4, 6])

    def reduced(x: Tensor) -> Tensor:
        result = getattr(Ragged(x, offsets), name)()
        return result.values if isinstance(result, Ragged) else result

    assert torch.autograd.gradcheck(reduced, (values,))
    (reduced(values) ** 2).sum().backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
    assert values.grad is not None
    assert values.grad[[0, -1]].tolist() == [0.0, 0.0]
    assert values.grad.isfinite().all()


@pytest.mark.parametrize("name", ["max", "min"])
def test_a_zero_that_is_the_extreme_keeps_its_whole_gradient(name: str) -> None:
    sign = 1.0 if name == "max" else -1.0
    values = torch.tensor([-sign, 0.0, -2 * sign], requires_grad=True)
    getattr(Ragged(values, torch.tensor([0, 0, 3])), name)().sum().backward()
    assert values.grad is not None
    assert values.grad.tolist() == [0.0, 1.0, 0.0]


def test_infinite_values_are_values() -> None:
    ragged = Ragged.from_rows([[-torch.inf], [torch.inf, 1.0], []])
    assert ragged.max().tolist() == [-torch.inf, torch.inf, 0.0]
    assert ragged.min().tolist() == [-torch.inf, 1.0, 0.0]


def test_integers_and_booleans_reduce() -> None:
    counts = Ragged.from_rows([[3, -1], [], [5]], dtype=torch.int64)
    assert counts.sum().tolist() == [2, 0, 5]
    assert counts.max().tolist() == [3, 0, 5]
    assert counts.mean().tolist() == [1.0, 0.0, 5.0]
    flags = Ragged.from_rows([[True, True], [], [False]], dtype=torch.bool)
    assert flags.sum().tolist() == [2, 0, 0]
    assert flags.max().tolist() == [1, 0, 0]


def test_values_may_have_features() -> None:
    ragged = Ragged.from_rows([[[1.0, 2.0], [3.0, 1.0]], [], [[5.0, 6.0]]])
    assert ragged.sum().tolist() == [[4.0, 3.0], [0.0, 0.0], [5.0, 6.0]]
    assert ragged.max().tolist() == [[3.0, 2.0], [0.0, 0.0], [5.0, 6.0]]
    assert torch.allclose(ragged.softmax().sum(), torch.tensor([[1.0], [0.0], [1.0]]))


SELECTIONS = {
    "slice": slice(1, 4),
    "empty slice": slice(3, 1),
    "negative slice": slice(-2, None),
    "every other": slice(None, None, 2),
    "indices": torch.tensor([4, 0, 0, 1]),
    "negative indices": torch.tensor([-1, 1]),
    "no indices": torch.tensor([], dtype=torch.int64),
    "mask": torch.tensor([True, False, True, False, True]),
    "no row": torch.zeros(5, dtype=torch.bool),
}


@pytest.mark.parametrize("rows", SELECTIONS.values(), ids=SELECTIONS.keys())
def test_select_is_indexing_of_lists(rows: Tensor | slice) -> None:
    numbers = torch.arange(5)[rows].tolist()
    selected = loose(ROWS).select(rows)
    expected = Ragged.from_rows([ROWS[number] for number in numbers]).tolist()
    assert selected.tolist() == expected
    assert selected.select(slice(0, 1)).tolist() == expected[:1]


def test_a_contiguous_slice_shares_the_memory_of_its_parent() -> None:
    ragged = Ragged.from_rows(ROWS)
    part = ragged.select(slice(2, 5))
    assert part.values.data_ptr() == ragged.values.data_ptr()
    assert len(part.values) > part.items
    assert part.packed().offsets.tolist() == [0, 1, 1, 4]


@pytest.mark.parametrize(
    "rows", [torch.ones(4, dtype=torch.bool), torch.zeros(2), torch.zeros(1, 1, dtype=torch.int64)]
)
def test_select_refuses_what_is_no_row_number(rows: Tensor) -> None:
    with pytest.raises(ShapeError, match="select"):
        Ragged.from_rows(ROWS).select(rows)


@given(rows=rows_of_numbers, items=st.integers(1, 12))
@deterministic
def test_blocks_cover_the_rows_once_within_the_bound(rows: list[list[float]], items: int) -> None:
    ragged = loose(rows)
    blocks = ragged.blocks(items)
    assert [i for block in blocks for i in range(block.start, block.stop)] == [*range(len(rows))]
    assert all(b.stop - b.start == 1 or ragged.select(b).items <= items for b in blocks)
    assert Ragged.cat([ragged.select(block) for block in blocks]).tolist() == ragged.tolist()


def test_cat_joins_rows_of_slices() -> None:
    parts = [loose(ROWS).select(slice(0, 2)), Ragged.from_rows([]), loose(ROWS)]
    assert Ragged.cat(parts).tolist() == Ragged.from_rows(ROWS[:2] + ROWS).tolist()
    with pytest.raises(ShapeError, match="no parts"):
        Ragged.cat([])


def test_map_and_repeat_belong_to_the_packed_items() -> None:
    ragged = loose(ROWS)
    assert ragged.map(torch.square).tolist()[4] == [1.0, 0.0, 4.0]
    assert ragged.repeat(torch.arange(5)).tolist() == ragged.row_ids().tolist()
    assert ragged.row_ids().tolist() == [0, 0, 2, 4, 4, 4]
    with pytest.raises(ShapeError, match=r"Ragged\.map"):
        ragged.map(lambda values: values[1:])
    with pytest.raises(ShapeError, match=r"Ragged\.repeat"):
        ragged.repeat(torch.zeros(6))


def test_no_rows_and_only_empty_rows_are_fine() -> None:
    none: list[list[float]] = []
    for rows in (none, [none, none]):
        ragged = Ragged.from_rows(rows)
        assert ragged.rows == len(rows)
        assert ragged.items == 0
        for name in REDUCTIONS:
            assert getattr(ragged, name)().tolist() == [0.0] * len(rows)
        assert ragged.softmax().tolist() == rows
        assert ragged.select(slice(None)).tolist() == rows


def test_to_converts_and_pickle_keeps_the_rows_only() -> None:
    ragged = loose(ROWS)
    assert ragged.to() is ragged
    double = ragged.to(dtype=torch.float64)
    assert double.values.dtype == torch.float64
    assert double.tolist() == ragged.tolist()
    ragged.row_ids()
    again = pickle.loads(pickle.dumps(ragged))
    assert again.tolist() == ragged.tolist()
    assert len(again.values) == ragged.items


def test_row_numbers_made_in_inference_mode_serve_a_gradient_later() -> None:
    values = torch.ones(3, requires_grad=True)
    ragged = Ragged(values, torch.tensor([0, 1, 3]))
    with torch.inference_mode():
        ragged.sum()
    ragged.sum().square().sum().backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
    assert values.grad is not None
    assert values.grad.tolist() == [2.0, 4.0, 4.0]


@pytest.mark.parametrize(
    ("values", "offsets"),
    [
        (torch.zeros(3), torch.tensor([0, 4])),
        (torch.zeros(3), torch.tensor([0, 2, 1])),
        (torch.zeros(3), torch.tensor([-1, 2])),
        (torch.zeros(3), torch.tensor([0, 3], dtype=torch.int32)),
        (torch.zeros(3), torch.tensor([], dtype=torch.int64)),
        (torch.zeros(3), torch.tensor([[0, 3]])),
        (torch.tensor(1.0), torch.tensor([0])),
    ],
)
def test_offsets_that_fit_no_values_are_refused(values: Tensor, offsets: Tensor) -> None:
    with pytest.raises(ShapeError, match="Ragged"):
        Ragged(values, offsets)
