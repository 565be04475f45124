from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

import awkward as ak
import hist
import numpy as np
import pytest
import uproot

from hepcalib.exceptions import DataError, RunError, ShapeError
from hepcalib.ntuples import write, write_histograms, writing

if TYPE_CHECKING:
    from pathlib import Path


def test_one_counter_per_collection(jets: Path, jet_columns: dict[str, Any]) -> None:
    with uproot.open(jets) as file:
        tree = file["Events"]
        assert tree.classname == "TTree"
        counters = {"nJet", "nGenJet", "nPFCand", "nJetPFCand"}
        assert set(tree.keys()) == set(jet_columns) | counters
        assert tree["nJet"].array().tolist() == [2, 0, 1, 1]


def test_branches_are_compressed(tmp_path: Path) -> None:
    write(tmp_path / "t.root", "T", {"x": np.zeros(10_000)})
    with uproot.open(tmp_path / "t.root") as file:
        assert file.file.compression == uproot.ZSTD(1)
        assert file["T"]["x"].compression_ratio > 50


def test_types_and_values_survive(tmp_path: Path) -> None:
    columns = {
        "i": np.array([1, -2], np.int16),
        "u": np.array([1, 2**63], np.uint64),
        "f": np.array([0.1, np.nan], np.float32),
        "d": np.array([0.1, np.inf]),
        "b": np.array([True, False]),
        "big": np.array([1.5, 2.5], ">f4"),
        "x": ak.Array([[1.0], []]),
    }
    write(tmp_path / "t.root", "T", columns)
    with uproot.open(tmp_path / "t.root") as file:
        found = file["T"].arrays()
        assert ak.type(found.u).content.primitive == "uint64"
        assert ak.type(found.f).content.primitive == "float32"
        for name, column in columns.items():
            expected = ak.Array(column if name != "big" else column.astype(np.float32))
            assert ak.array_equal(found[name], expected, equal_nan=True)
        assert file["T"]["nx"].array().tolist() == [1, 0]


def test_a_counter_may_be_given_but_must_agree(tmp_path: Path) -> None:
    lists = ak.Array([[1.0], [2.0, 3.0]])
    write(tmp_path / "a.root", "T", {"nJet": np.array([1, 2]), "Jet_pt": lists})
    with uproot.open(tmp_path / "a.root") as file:
        assert set(file["T"].keys()) == {"nJet", "Jet_pt"}
    with pytest.raises(ShapeError, match="'Jet_pt' and 'nJet' differ in their numbers of objects"):
        write(tmp_path / "b.root", "T", {"nJet": np.array([2, 1]), "Jet_pt": lists})
    with pytest.raises(ShapeError, match="'Jet_pt' and 'Jet_eta' differ"):
        write(tmp_path / "b.root", "T", {"Jet_pt": lists, "Jet_eta": ak.Array([[1.0], [2.0]])})


def test_columns_must_have_one_length(tmp_path: Path) -> None:
    with pytest.raises(ShapeError, match=r"different lengths: .*'a': 2, 'b': 3"):
        write(tmp_path / "a.root", "T", {"a": np.zeros(2), "b": np.zeros(3)})


@pytest.mark.parametrize(
    "column",
    [
        ak.Array([1.0, None]),
        ak.Array([[1.0, None], []]),
        ak.Array([[[1.0]], []]),
        ak.Array(["a", "b"]),
        ak.Array([{"x": 1}, {"x": 2}]),
    ],
)
def test_what_a_branch_cannot_hold_is_refused(tmp_path: Path, column: ak.Array) -> None:
    with pytest.raises(DataError, match="column 'Jet_x'"):
        write(tmp_path / "a.root", "T", {"Jet_x": column})
    assert list(tmp_path.iterdir()) == []


def test_an_option_type_without_missing_values_is_written(tmp_path: Path) -> None:
    jagged = ak.Array([[1.0, None], [2.0]])
    columns = {
        "Jet_x": jagged[~ak.is_none(jagged, axis=1)],
        "y": ak.Array([1.0, None, 2.0])[[0, 2]],
    }
    assert "?" in str(ak.type(columns["Jet_x"]))
    write(tmp_path / "a.root", "T", columns)
    with uproot.open(tmp_path / "a.root") as file:
        assert file["T"]["Jet_x"].array().tolist() == [[1.0], [2.0]]
        assert file["T"]["y"].array().tolist() == [1.0, 2.0]


def test_sliced_and_masked_arrays_are_packed(tmp_path: Path) -> None:
    lists = ak.Array([[1.0], [2.0, 3.0], [], [4.0]])
    write(
        tmp_path / "a.root", "T", {"Jet_x": lists[[1, 3]], "Jet_y": lists[1:][[True, False, True]]}
    )
    with uproot.open(tmp_path / "a.root") as file:
        assert file["T"]["Jet_x"].array().tolist() == [[2.0, 3.0], [4.0]]


def test_long_columns_are_cut_into_few_large_baskets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "_BASKET_ENTRIES", 400)
    write(tmp_path / "a.root", "T", {"x": np.arange(1000), "Jet_y": ak.Array([[1.0]] * 1000)})
    with uproot.open(tmp_path / "a.root") as file:
        assert file["T"]["x"].num_baskets == 3
        assert file["T"]["x"].array().tolist() == list(range(1000))
    monkeypatch.setattr(writing, "_BASKET_BYTES", 2000)
    write(tmp_path / "b.root", "T", {"x": np.arange(1000)})
    with uproot.open(tmp_path / "b.root") as file:
        assert file["T"]["x"].num_baskets == 4


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "folder" / "a.root"
    write(path, "T", {"x": np.arange(3)})
    before = path.read_bytes()

    def fail(*_: Any, **__: Any) -> None:
        message = "no space left"
        raise OSError(message)

    monkeypatch.setattr("uproot.writing.writable.WritableTree.extend", fail)
    monkeypatch.setattr(writing, "_BASKET_ENTRIES", 2)
    with pytest.raises(RunError, match=r"a\.root: cannot be written: no space left"):
        write(path, "T", {"x": np.arange(5)})
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_histograms_in_folders(tmp_path: Path) -> None:
    one = hist.Hist.new.Reg(3, 0, 3, name="x", label="x [GeV]").Weight().fill(x=[0.5, 1.5, 1.5])
    two = hist.Hist.new.Reg(2, 0, 1).Reg(2, 0, 1).Double().fill([0.1], [0.9])
    write_histograms(tmp_path / "h.root", {"jets/pt": one, "map": two})
    with uproot.open(tmp_path / "h.root") as file:
        assert file["jets/pt"].values().tolist() == [1.0, 2.0, 0.0]
        assert file["map"].values().tolist() == [[0.0, 1.0], [0.0, 0.0]]


def fill_the_disk(target: Path) -> None:
    """Fail under the temporary name of a caller, who renames it and names it in errors."""
    with writing.replacing(target) as outer, writing.replacing(outer) as inner:
        assert inner == outer
        raise OSError(errno.ENOSPC, "No space left on device")


def test_an_error_names_the_file_that_was_asked_for(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"/histograms\.root: cannot be written: No space left"):
        fill_the_disk(tmp_path / "histograms.root")
    assert list(tmp_path.iterdir()) == []
