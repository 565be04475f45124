from __future__ import annotations

from typing import TYPE_CHECKING, Any

import awkward as ak
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hepcalib.exceptions import ConfigError, DataError, ShapeError
from hepcalib.ragged import Ragged, from_awkward, to_awkward
from hepcalib.ragged.columns import lists

if TYPE_CHECKING:
    from collections.abc import Callable


def virtual(jets: ak.Array) -> ak.Array:
    form, length, buffers = ak.to_buffers(jets)
    lazy = {key: (lambda buffer=buffer: buffer) for key, buffer in buffers.items()}
    return ak.from_buffers(form, length, lazy)


def sort(jets: ak.Array) -> ak.Array:
    return jets[ak.argsort(jets.pt, axis=1)]


OPERATIONS: dict[str, Callable[[ak.Array], ak.Array]] = {
    "whole": lambda jets: jets,
    "sliced": lambda jets: jets[1:-1],
    "masked": lambda jets: jets[ak.num(jets.pt) % 2 == 0],
    "re-indexed": lambda jets: jets[np.arange(len(jets))[::-1]],
    "repeated": lambda jets: jets[np.zeros(3 if len(jets) else 0, np.int64)],
    "inner cut": lambda jets: jets[jets.pt > 0],
    "inner slice": lambda jets: jets[:, 1:3],
    "sorted": sort,
    "sorted and cut": lambda jets: sort(jets)[1:][sort(jets)[1:].pt > 0],
    "zero rows": lambda jets: jets[:0],
    "all empty": lambda jets: jets[:, :0],
    "option of rows": lambda jets: ak.mask(jets, np.ones(len(jets), bool)),
    "option of items": lambda jets: ak.mask(jets, ak.full_like(jets.pt, True, dtype=bool)),
    "virtual": virtual,
    "virtual, sliced": lambda jets: virtual(jets)[1:],
    "virtual, cut": lambda jets: virtual(jets)[virtual(jets).pt > 0],
}

numbers = st.floats(-1e4, 1e4, width=32)
records = st.fixed_dictionaries({"pt": numbers, "eta": numbers, "pdg_id": st.integers(-400, 400)})


def as_jets(rows: list[list[dict[str, Any]]]) -> ak.Array:
    flat = [item for row in rows for item in row]
    columns = ak.Array(
        {
            "pt": np.array([item["pt"] for item in flat], np.float32),
            "eta": np.array([item["eta"] for item in flat], np.float64),
            "pdg_id": np.array([item["pdg_id"] for item in flat], np.int32),
        }
    )
    return ak.unflatten(columns, np.array([len(row) for row in rows], np.int64))


@pytest.mark.parametrize("operation", OPERATIONS)
@given(rows=st.lists(st.lists(records, max_size=4), max_size=6))
@settings(derandomize=True, deadline=None, max_examples=15)
def test_round_trip_through_ragged(operation: str, rows: list[list[dict[str, Any]]]) -> None:
    jets = OPERATIONS[operation](as_jets(rows))
    names = ["pdg_id", "pt", "eta"]
    ragged = from_awkward(jets, names)
    assert ragged.values.dtype == torch.float32
    assert ragged.values.shape == (ragged.items, 3)
    assert ragged.rows == len(jets)
    again = to_awkward(ragged, names)
    for name in names:
        assert again[name].to_list() == jets[name].to_list()


def test_a_mapping_of_columns_is_as_good_as_records() -> None:
    jets = as_jets([[{"pt": 1.0, "eta": 2.0, "pdg_id": 3}], []])
    columns = {name: jets[name] for name in jets.fields}
    assert from_awkward(columns, ["eta"]).tolist() == [[[2.0]], []]
    assert from_awkward(columns, ["eta"]).values.shape == (1, 1)


def test_a_column_does_not_share_memory_with_its_tensor() -> None:
    column = ak.Array([[1.0, 2.0], []])
    from_awkward({"pt": column}, ["pt"]).values.zero_()
    assert column.to_list() == [[1.0, 2.0], []]


@pytest.mark.parametrize("dtype", [">f4", ">f8", ">i4", "<u2", "?", "f8", "i8"])
def test_number_types_and_byte_orders_become_float32(dtype: str) -> None:
    column = np.array([[0, 1], [1, 0], [1, 1]], dtype)
    ragged = from_awkward({"charge": column}, ["charge"])
    assert ragged.values.dtype == torch.float32
    assert ragged.values.flatten().tolist() == [0, 1, 1, 0, 1, 1]
    assert ragged.counts.tolist() == [2, 2, 2]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_are_in_the_precision_that_was_asked_for(dtype: torch.dtype) -> None:
    exact = [1 / 3, 1e5 + 1e-6]
    found = from_awkward({"pt": ak.Array([exact[:1], [], exact[1:]])}, ["pt"], dtype=dtype)
    assert torch.equal(found.values, torch.tensor(exact, dtype=torch.float64).to(dtype)[:, None])
    with pytest.raises(ConfigError, match=r"dtype is torch\.float16; needed: torch\.float32 or"):
        from_awkward({"pt": ak.Array([exact])}, ["pt"], dtype=torch.float16)


def test_rows_without_a_type_are_empty() -> None:
    assert from_awkward({"pt": ak.Array([[], []])}, ["pt"]).tolist() == [[], []]
    assert from_awkward({"pt": ak.Array([])}, ["pt"]).rows == 0


def test_beyond_float32_is_infinite_for_the_reader_to_refuse() -> None:
    ragged = from_awkward({"pt": ak.Array([[1e300, torch.nan]])}, ["pt"])
    assert ragged.values[0].item() == torch.inf
    assert ragged.values[1].isnan()


@pytest.mark.parametrize(
    ("column", "message"),
    [
        (ak.Array([[1.0, None], [2.0]]), "'pt' has 1 missing values, the first in item 1"),
        (ak.Array([[1.0], None, None]), "'pt' has 2 missing values, the first in row 1"),
        (ak.mask(ak.Array([[1.0], [2.0]]), [True, False]), "the first in row 1"),
        (ak.Array([1.0, 2.0]), "needed: rows"),
        (ak.Array([[[1.0]], []]), "needed: rows"),
        (ak.Array([["electron"]]), "needed: rows"),
        (ak.Array([[{"x": 1}]]), "needed: rows"),
        (ak.Array([[1.0, "muon"]]), "needed: rows"),
    ],
)
def test_what_has_no_number_in_every_place_is_refused(column: ak.Array, message: str) -> None:
    with pytest.raises(DataError, match=message):
        from_awkward({"pt": column}, ["pt"])


def test_different_lengths_unknown_and_no_names_are_refused() -> None:
    columns = {"pt": ak.Array([[1.0], [2.0, 3.0]]), "eta": ak.Array([[1.0, 2.0], [3.0]])}
    with pytest.raises(ShapeError, match="'eta' and 'pt' have different row lengths"):
        from_awkward(columns, ["pt", "eta"])
    with pytest.raises(DataError, match=r"no column 'ptt'.*Did you mean 'pt'"):
        from_awkward(columns, ["ptt"])
    with pytest.raises(DataError, match="no column 'phi'"):
        from_awkward(ak.Array([[{"pt": 1.0}]]), ["phi"])
    with pytest.raises(ShapeError, match="no names"):
        from_awkward(columns, [])


def test_to_awkward_of_slices_and_of_unnamed_values() -> None:
    ragged = Ragged.from_rows([[1.0], [], [2.0, 3.0]]).select(slice(1, 3))
    assert to_awkward(ragged).to_list() == [[], [2.0, 3.0]]
    pairs = Ragged.from_rows([[[1.0, 2.0]], []])
    assert to_awkward(pairs).to_list() == [[[1.0, 2.0]], []]
    assert to_awkward(pairs, ["pt", "eta"]).to_list() == [[{"pt": 1.0, "eta": 2.0}], []]
    grown = Ragged(pairs.values.requires_grad_(), pairs.offsets)
    assert to_awkward(grown, ["pt", "eta"]).pt.to_list() == [[1.0], []]
    with pytest.raises(ShapeError, match="3 names"):
        to_awkward(pairs, ["pt", "eta", "phi"])


COLUMN = ak.Array([[1.0, 2.0], [], [3.0], [4.0, 5.0, 6.0]])


@pytest.mark.parametrize(
    ("column", "shares"),
    [
        (COLUMN, True),
        (COLUMN[1:], True),
        (COLUMN[[3, 0, 0]], True),
        (COLUMN[np.array([True, False, True, True])], True),
        (ak.Array(COLUMN.layout.to_ListOffsetArray64(True)), True),
        (ak.to_regular(ak.Array([[1.0, 2.0], [3.0, 4.0]])), True),
        (ak.mask(COLUMN, [True] * 4), True),
        (ak.mask(COLUMN, COLUMN > 0), False),
        (ak.zip({"x": COLUMN})[COLUMN > 1].x, True),
    ],
)
def test_lists_are_found_where_they_are(column: ak.Array, shares: bool) -> None:
    found = lists(column, "x")
    assert found.counts.tolist() == ak.num(column).tolist()
    expected = column.to_list()
    for start in range(len(expected) + 1):
        for stop in range(start, len(expected) + 1):
            numbers = found.numbers(slice(start, stop))
            assert numbers.tolist() == [x for row in expected[start:stop] for x in row]
    buffers = [np.asarray(buffer) for buffer in ak.to_buffers(column)[2].values()]
    assert any(np.shares_memory(found.content, buffer) for buffer in buffers) == shares
