from __future__ import annotations

from typing import Any

import awkward as ak
import numpy as np
import pytest

from hepcalib.exceptions import DataError, ShapeError
from hepcalib.features.table import Table, objects_per_event


@pytest.fixture
def flat() -> Any:
    constituents = ak.Array(
        [[{"pt": 1.0, "eta": 0.1}, {"pt": 2.0, "eta": 0.2}], [], [{"pt": 3.0, "eta": 0.3}]]
    )
    return ak.zip({"pt": [10.0, 20.0, 30.0], "constituents": constituents}, depth_limit=1)


def test_columns_of_flat_records(flat: Any) -> None:
    table = Table(flat, constituents=["pt", "eta"])
    assert table.rows == 3
    assert table["pt"].tolist() == [10, 20, 30]
    assert table["constituents.pt"].tolist() == [1, 2, 3]
    assert table["constituents.eta"] == pytest.approx([0.1, 0.2, 0.3])
    assert table.offsets.tolist() == [0, 2, 2, 3]
    assert table.per_constituent(table["pt"]).tolist() == [10, 10, 30]
    assert table.sum(table["constituents.pt"]).tolist() == [3, 0, 3]


@pytest.mark.parametrize("counts", [[2, 0, 1], [0, 3], [3, 0, 0]])
def test_events_of_objects_are_flattened_in_order(flat: Any, counts: list[int]) -> None:
    jagged = ak.unflatten(flat, counts)
    table = Table(jagged, constituents=["pt"])
    found = objects_per_event(jagged)
    assert found is not None
    assert found.tolist() == counts
    assert table.rows == 3
    assert table["pt"].tolist() == [10, 20, 30]
    assert table["constituents.pt"].tolist() == [1, 2, 3]


@pytest.mark.parametrize("rows", [[2, 0], [1], [], [True, False, True]])
def test_indexed_and_masked_records(flat: Any, rows: list[int]) -> None:
    chosen = flat[np.array(rows, dtype=bool if rows and rows[0] is True else np.int64)]
    expected = Table(flat, constituents=["pt"])["pt"][np.asarray(rows, dtype=chosen_type(rows))]
    table = Table(chosen, constituents=["pt"])
    assert table["pt"].tolist() == expected.tolist()
    assert table.sum(table["constituents.pt"]).tolist() == [
        {10.0: 3.0, 20.0: 0.0, 30.0: 3.0}[pt] for pt in expected
    ]


def chosen_type(rows: list[int]) -> type:
    return bool if rows and rows[0] is True else np.int64


def test_same_columns_from_mapping_structured_array_and_record() -> None:
    pt, mu = np.array([1.5, 2.5], dtype=">f4"), np.array([3, 4], dtype=np.int16)
    structured = np.zeros(2, dtype=[("pt", ">f4"), ("mu", "<i2")])
    structured["pt"], structured["mu"] = pt, mu
    record = ak.zip({"pt": [1.5, 2.5], "mu": [3, 4]})
    for columns in ({"pt": pt, "mu": mu}, structured, record):
        table = Table(columns)
        assert table["pt"].tolist() == [1.5, 2.5]
        assert table["mu"].dtype == np.float64


def test_option_types_without_missing_values_are_fine() -> None:
    masked = ak.mask(ak.Array([1.0, 2.0]), [True, True])
    assert Table({"pt": masked})["pt"].tolist() == [1, 2]


def test_missing_values_are_refused_with_their_row() -> None:
    masked = ak.mask(ak.Array([1.0, 2.0, 3.0]), [True, False, True])
    with pytest.raises(DataError, match="column 'pt' has 1 missing values, first in row 1"):
        Table({"pt": masked})["pt"]


def test_masked_events_are_refused(flat: Any) -> None:
    masked = ak.mask(ak.unflatten(flat, [2, 1]), [True, False])
    with pytest.raises(DataError, match="1 of 2 events are missing"):
        Table(masked)


def test_missing_columns_are_named_with_the_nearest(flat: Any) -> None:
    with pytest.raises(DataError, match=r"column 'ptt' is missing.*Nearest: pt\."):
        Table(flat)["ptt"]
    table = Table(flat, constituents=["phii", "eta"])
    with pytest.raises(DataError, match=r"'constituents.phii' is missing.*constituents.eta"):
        table["constituents.eta"]
    with pytest.raises(DataError, match="column 'constituents' is missing"):
        Table({"pt": [1.0]}, constituents=["pt"])["constituents.pt"]


@pytest.mark.parametrize("column", [ak.Array([[1.0], [2.0, 3.0]]), ak.Array(["a", "b"])])
def test_columns_of_something_else_are_refused(column: Any) -> None:
    with pytest.raises(DataError, match="needed: one number per object"):
        Table({"pt": column})["pt"]


def test_two_dimensional_column_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"shape \(2, 3\)"):
        Table({"pt": np.zeros((2, 3))})["pt"]


def test_different_lengths_are_refused() -> None:
    with pytest.raises(ShapeError, match="different lengths"):
        Table({"pt": np.zeros(2), "eta": np.zeros(3)})


@pytest.mark.parametrize("columns", [[1.0, 2.0], ak.Array([1.0]), np.zeros(3)])
def test_unnamed_columns_are_refused(columns: Any) -> None:
    with pytest.raises(DataError, match="named columns"):
        Table(columns)


def test_virtual_columns_load_only_what_is_asked_for() -> None:
    loaded: list[str] = []

    def virtual(name: str) -> Any:
        def generate() -> Any:
            loaded.append(name)
            return np.array([1.0, 2.0])

        form = ak.forms.NumpyForm("float64", form_key=name)
        return ak.from_buffers(form, 2, {f"{name}-data": generate})

    table = Table({"pt": virtual("pt"), "mu": virtual("mu")})
    assert table["pt"].tolist() == [1, 2]
    assert loaded == ["pt"]


def test_a_part_is_a_table_of_its_rows(flat: Any) -> None:
    table = Table(flat, constituents=["pt", "eta"])
    part = table.part(slice(1, 3))
    assert (part.first, part.rows) == (1, 2)
    assert part["pt"].tolist() == [20, 30]
    assert part["constituents.pt"].tolist() == [3]
    assert part.offsets.tolist() == [0, 0, 1]
    assert part.per_constituent(part["pt"]).tolist() == [30]
    assert part.sum(part["constituents.pt"]).tolist() == [0, 3]
    inner = part.part(slice(1, 2))
    assert (inner.first, inner["pt"].tolist()) == (2, [30])
    assert table.part(slice(3, 9)).rows == 0
    assert table["pt"].tolist() == [10, 20, 30]


@pytest.mark.parametrize("size", [1, 2, 3, 4, 100])
def test_blocks_cover_all_rows_and_are_bounded(flat: Any, size: int) -> None:
    table = Table(flat, constituents=["pt"])
    blocks = table.blocks(size)
    assert [row for block in blocks for row in range(block.start, block.stop)] == [0, 1, 2]
    for block in blocks:
        part = table.part(block)
        assert part.rows == 1 or part.rows + len(part["constituents.pt"]) <= size
    assert len(Table(flat).blocks(size)) == -(-3 // size)  # without constituents, rows alone
    assert Table(flat[:0]).blocks(size) == []


def test_the_parts_share_what_was_read(monkeypatch: pytest.MonkeyPatch, flat: Any) -> None:
    table, reads = Table(flat, constituents=["pt"]), []
    numbers = Table._numbers

    def noting(self: Table, name: str) -> Any:
        reads.append(name)
        return numbers(self, name)

    monkeypatch.setattr(Table, "_numbers", noting)
    for block in table.blocks(1):
        part = table.part(block)
        assert part.per_constituent(part["pt"]) is part.per_constituent(part["pt"])
    assert reads == ["pt"]


def test_lists_of_different_lengths_name_the_row() -> None:
    pt, eta = ak.Array([[1.0], [2.0], [3.0]]), ak.Array([[0.1], [0.2, 0.3], [0.4]])
    jets = ak.zip({"constituents": ak.zip({"pt": pt, "eta": eta}, depth_limit=1)}, depth_limit=1)
    with pytest.raises((DataError, ShapeError), match=r"constituents"):
        Table(jets, constituents=["pt", "eta"])["constituents.pt"]


def test_texts_are_no_numbers() -> None:
    with pytest.raises(DataError, match=r"column 'pt' is .*string; needed: one number per object"):
        Table({"pt": np.array(["1.5", "2"])})["pt"]
