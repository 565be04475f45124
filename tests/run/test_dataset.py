from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from hepcalib.exceptions import ConfigError, NtupleError
from hepcalib.ntuples import scan
from hepcalib.run import Dataset, scan_dataset

if TYPE_CHECKING:
    from pathlib import Path

LAYOUT = "nanoaod_ak4"


def test_files_are_scanned_in_order(small_jets: Path, data: Path) -> None:
    paths = [small_jets, data / "damaged" / "reference_zstd.root"]
    dataset = scan_dataset("d", paths, LAYOUT, metadata={"year": 2024})
    assert [file.path for file in dataset.files] == [str(path) for path in paths]
    assert [file.entries for file in dataset.files] == [30, 200]
    assert dataset.metadata == {"year": 2024}
    assert dataset.unreadable == ()


def test_bad_files_are_kept_with_the_reason(small_jets: Path, data: Path) -> None:
    bad = data / "damaged" / "empty.root"
    dataset = scan_dataset("d", [bad, small_jets], LAYOUT, events={"empty.root": 200})
    assert [file.path for file in dataset.files] == [str(small_jets)]
    (problem,) = dataset.unreadable
    assert problem == (str(bad), f"{bad}: the file is empty (0 bytes)", 200, None)


@pytest.mark.parametrize("how", ["twice", "copy"])
def test_no_events_are_counted_twice(small_jets: Path, tmp_path: Path, how: str) -> None:
    other = small_jets
    if how == "copy":
        other = tmp_path / "copy.root"
        shutil.copy(small_jets, other)
    with pytest.raises(NtupleError, match=rf"{other.name} has the (uuid|path) of .*small.root"):
        scan_dataset("d", [small_jets, other], LAYOUT)


def test_an_equal_checksum_is_a_copy_even_with_another_uuid(small_jets: Path) -> None:
    one = scan(small_jets, LAYOUT, checksum=True)
    other = one._replace(path="other.root", uuid="other")
    with pytest.raises(NtupleError, match=r"other.root has the sha256 of"):
        Dataset("d", (one, other), LAYOUT)


def test_a_file_must_be_what_is_declared(small_jets: Path) -> None:
    good = scan(small_jets, LAYOUT, checksum=True)
    declared = {
        "sha256": {"small.root": good.sha256 or ""},
        "events": {str(small_jets): 30},
        "sum_of_weights": {"small.root": good.sum_of_weights * (1 + 1e-9)},
    }
    checked = (good._replace(checked=True),)
    assert scan_dataset("d", [small_jets], LAYOUT, **declared).files == checked  # type: ignore[arg-type]  # keywords of several types
    for key, value, reason in (
        ("sha256", "0" * 64, "expected 0000"),
        ("events", 31, "has 30 entries, declared are 31"),
        ("sum_of_weights", 1e6, "declared is 1000000.0"),
    ):
        dataset = scan_dataset("d", [small_jets], LAYOUT, **{key: {"small.root": value}})  # type: ignore[arg-type]  # keywords of several types
        assert dataset.files == ()
        assert reason in dataset.unreadable[0].reason


def test_declarations_must_be_about_a_file(small_jets: Path) -> None:
    with pytest.raises(ConfigError, match=r"events is declared for smal.root: no such file"):
        scan_dataset("d", [small_jets], LAYOUT, events={"smal.root": 30})


def test_a_dataset_needs_files() -> None:
    with pytest.raises(NtupleError, match="dataset 'd' has no files"):
        scan_dataset("d", [], LAYOUT)


def test_a_mistyped_layout_or_column_is_no_bad_file(small_jets: Path) -> None:
    with pytest.raises(ConfigError, match="unknown ntuple layout"):
        scan_dataset("d", [small_jets], "nanoad")
    with pytest.raises(ConfigError, match="no column 'enta'"):
        scan_dataset("d", [small_jets], LAYOUT, needs=["enta"])


def test_needed_columns_are_checked_in_every_file(small_jets: Path) -> None:
    dataset = scan_dataset("d", [small_jets], LAYOUT, needs=["mu"])
    assert "missing branch 'Pileup_nTrueInt'" in dataset.unreadable[0].reason
