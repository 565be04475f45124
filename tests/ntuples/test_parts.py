from __future__ import annotations

import io
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from zipfile import ZIP_DEFLATED, ZipFile

import awkward as ak
import numpy as np
import pytest
import uproot

from hepcalib.exceptions import DataError, RunError, ShapeError
from hepcalib.ntuples import merge_parts, parts, save_part

if TYPE_CHECKING:
    from pathlib import Path


def _metadata(file: int, start: int, stop: int, uuid: str = "aa-bb") -> dict[str, Any]:
    return {"file_number": file, "fileuuid": uuid, "entrystart": start, "entrystop": stop}


def _save(folder: Path, file: int, start: int, stop: int) -> dict[str, Any]:
    metadata = _metadata(file, start, stop)
    entries = np.arange(start, stop)
    columns = {"entry": entries, "file": np.full(len(entries), file), "x": entries * 0.5}
    save_part(folder, metadata, columns)
    return metadata


def test_parts_are_merged_in_the_order_of_the_input(tmp_path: Path) -> None:
    for file, start, stop in ((10, 0, 5), (2, 100, 120), (2, 9, 100), (2, 0, 9)):
        _save(tmp_path / "p", file, start, stop)
    assert merge_parts(tmp_path / "p", tmp_path / "out.root") == 125
    with uproot.open(tmp_path / "out.root") as file:
        found = file["columns"].arrays(library="np")
    assert found["entry"].tolist() == [*range(120), *range(5)]
    assert found["file"].tolist() == [2] * 120 + [10] * 5
    assert found["x"].tolist() == (found["entry"] * 0.5).tolist()
    assert found["entry"].dtype == np.int64


def test_baskets_join_many_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "_ROWS", 25)
    for start in range(0, 100, 10):
        _save(tmp_path / "p", 0, start, start + 10)
    merge_parts(tmp_path / "p", tmp_path / "out.root", tree="T")
    with uproot.open(tmp_path / "out.root") as file:
        assert file["T"]["x"].num_baskets == 4
        assert file["T"]["entry"].array().tolist() == list(range(100))


def test_saving_again_replaces(tmp_path: Path) -> None:
    first = save_part(tmp_path, _metadata(0, 0, 2), {"x": np.array([1.0, 2.0])})
    second = save_part(tmp_path, _metadata(0, 0, 2), {"x": np.array([3.0, 4.0])})
    assert first == second
    assert list(tmp_path.iterdir()) == [first]
    merge_parts(tmp_path, tmp_path / "out.root")
    with uproot.open(tmp_path / "out.root") as file:
        assert file["columns"]["x"].array().tolist() == [3.0, 4.0]


def test_records_and_any_numbers_are_columns(tmp_path: Path) -> None:
    array = ak.Array(
        {"allow_pickle": [1, 2], "file": [True, False], "g": np.array([1, 2], np.float32)}
    )
    save_part(tmp_path, _metadata(0, 0, 2), array)
    merge_parts(tmp_path, tmp_path / "out.root")
    with uproot.open(tmp_path / "out.root") as file:
        assert file["columns"].arrays().tolist() == array.tolist()


def test_chunks_without_objects_are_parts_too(tmp_path: Path) -> None:
    save_part(tmp_path, _metadata(0, 0, 2), {"x": np.array([])})
    assert merge_parts(tmp_path, tmp_path / "out.root") == 0
    save_part(tmp_path, _metadata(0, 2, 3), {"x": np.array([1.0])})
    assert merge_parts(tmp_path, tmp_path / "out.root") == 1


def test_only_the_wanted_chunks_are_merged(tmp_path: Path) -> None:
    chunks = [_save(tmp_path / "p", 0, start, start + 5) for start in (0, 5, 10)]
    assert merge_parts(tmp_path / "p", tmp_path / "out.root", chunks=[chunks[2], chunks[0]]) == 10
    with uproot.open(tmp_path / "out.root") as file:
        assert file["columns"]["entry"].array().tolist() == [*range(5), *range(10, 15)]
    with pytest.raises(RunError, match=r"no part was saved for 1 chunks, first 000000-.*-15-20"):
        merge_parts(tmp_path / "p", tmp_path / "out.root", chunks=[*chunks, _metadata(0, 15, 20)])


def test_parts_of_an_earlier_run_are_not_counted_twice(tmp_path: Path) -> None:
    _save(tmp_path / "p", 0, 0, 10)
    _save(tmp_path / "p", 0, 5, 10)
    with pytest.raises(RunError, match="cover the same entries"):
        merge_parts(tmp_path / "p", tmp_path / "out.root")
    assert not (tmp_path / "out.root").exists()


def test_parts_of_one_entry_range_in_two_files_are_different(tmp_path: Path) -> None:
    save_part(tmp_path, _metadata(0, 0, 2, "aa"), {"x": np.array([1.0])})
    save_part(tmp_path, _metadata(0, 0, 2, "bb"), {"x": np.array([2.0])})
    assert merge_parts(tmp_path, tmp_path / "out.root") == 2


def test_nothing_to_merge(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no parts to merge"):
        merge_parts(tmp_path / "nowhere", tmp_path / "out.root")


def test_parts_with_other_columns_are_refused(tmp_path: Path) -> None:
    save_part(tmp_path, _metadata(0, 0, 2), {"x": np.array([1.0])})
    save_part(tmp_path, _metadata(0, 2, 4), {"y": np.array([1.0])})
    with pytest.raises(RunError, match="columns differ"):
        merge_parts(tmp_path, tmp_path / "out.root")


def test_damaged_bytes_of_a_part_are_refused_or_none_of_the_numbers(tmp_path: Path) -> None:
    path = save_part(tmp_path, _metadata(0, 0, 2), {"x": np.arange(20.0), "n": np.arange(20)})
    whole, random = path.read_bytes(), np.random.default_rng(3)
    for number in range(200):
        damaged = bytearray(whole)
        for place in random.integers(0, len(whole), 1 + number % 3):
            damaged[place] = random.integers(256)
        path.write_bytes(damaged[: None if number % 4 else int(random.integers(len(whole)))])
        with suppress(RunError):  # and no other error
            merge_parts(tmp_path, tmp_path / "out.root")


def test_a_part_is_as_large_as_it_says(tmp_path: Path) -> None:
    """A header of a terabyte of zeros, and zeros that are compressed."""
    path = save_part(tmp_path, _metadata(0, 0, 2), {"x": np.arange(100.0)})
    header = path.read_bytes().replace(b"(100,)", b"(1e0,)")
    path.write_bytes(header)
    with pytest.raises(RunError, match="the part cannot be read"):
        merge_parts(tmp_path, tmp_path / "out.root")
    for stored in (1 << 37, 99):
        column = io.BytesIO()
        np.lib.format.write_array_header_1_0(
            column, {"descr": "<f8", "fortran_order": False, "shape": (stored,)}
        )
        with ZipFile(path, "w") as archive:
            archive.writestr("column_x.npy", column.getvalue() + bytes(800))
        with pytest.raises(RunError, match=f"has 100 numbers and says {stored}"):
            merge_parts(tmp_path, tmp_path / "out.root")
    with ZipFile(path, "w", ZIP_DEFLATED) as archive:
        archive.writestr("column_x.npy", bytes(1 << 20))
    with pytest.raises(RunError, match="is compressed"):
        merge_parts(tmp_path, tmp_path / "out.root")


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    path = save_part(tmp_path, _metadata(0, 0, 2), {"x": np.arange(100.0)})
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(RunError, match=rf"{path.name}: the part cannot be read"):
        merge_parts(tmp_path, tmp_path / "out.root")


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.npz").write_bytes(b"")
    with pytest.raises(RunError, match=r"notes.npz: not the name of a part"):
        merge_parts(tmp_path, tmp_path / "out.root")


@pytest.mark.parametrize(
    "column", [np.array(["a"]), np.zeros((1, 2)), ak.Array([[1.0]]), ak.Array([None, 1.0])[:1]]
)
def test_only_numbers_per_object_are_saved(tmp_path: Path, column: Any) -> None:
    with pytest.raises(DataError, match="column 'x'"):
        save_part(tmp_path, _metadata(0, 0, 1), {"x": column})


def test_columns_of_a_part_have_one_length(tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match="different lengths"):
        save_part(tmp_path, _metadata(0, 0, 1), {"x": np.zeros(1), "y": np.zeros(2)})
