from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import awkward as ak
import numpy as np
import pytest
import uproot

from hepcalib import ntuples, samples
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


def with_uuid_of(path: Path, other: Path) -> Path:
    """Give a file the UUID of another one."""
    uuids = [uproot.open(file).file.uuid.bytes for file in (path, other)]
    path.write_bytes(path.read_bytes().replace(*uuids))
    return path


@pytest.mark.parametrize("checksum", [True, False])
@pytest.mark.parametrize("events", [40, 10, 0])
def test_different_files_may_share_a_uuid(tmp_path: Path, checksum: bool, events: int) -> None:
    files = [tmp_path / f"{name}.root" for name in "abc"]
    for seed, file in enumerate(files):
        columns = samples.topoclusters.simulate(40, seed=seed)
        columns = {name: values[: events if seed else 40] for name, values in columns.items()}
        ntuples.write(file, "ClusterTree", columns)
    for file in files[1:]:
        with_uuid_of(file, files[0])
    found = scan_dataset("d", files, "cluster_tree", checksum=checksum)
    assert [file.entries for file in found.files] == [40, events, events]
    assert len({file.uuid for file in found.files}) == 1
    with pytest.raises(NtupleError, match=r"b\.root has the uuid of .*a\.root"):
        Dataset("d", found.files[:2], "cluster_tree")


@pytest.mark.parametrize("how", ["link", "longer", "damaged", "among others"])
@pytest.mark.parametrize("checksum", [True, False])
def test_the_same_events_are_found_in_files_that_differ(
    tmp_path: Path, how: str, checksum: bool
) -> None:
    one, two, columns = tmp_path / "a.root", tmp_path / "b.root", {}
    columns = dict(samples.topoclusters.simulate(60, seed=1))
    ntuples.write(one, "ClusterTree", columns)
    if how == "link":
        two.symlink_to(one)
    elif how == "longer":
        ntuples.write(two, "ClusterTree", {n: v[:25] for n, v in columns.items()})
        with_uuid_of(two, one)
    elif how == "damaged":
        columns["clusterE"] = np.where(np.arange(60) == 3, 7.0, columns["clusterE"])
        ntuples.write(two, "ClusterTree", columns)
        with_uuid_of(two, one)
    else:
        shutil.copy(one, two)
    third = tmp_path / "c.root"
    ntuples.write(third, "ClusterTree", samples.topoclusters.simulate(60, seed=2))
    others = [with_uuid_of(third, one)] if how == "among others" else []
    with pytest.raises(NtupleError, match=r"the same events would be counted twice"):
        scan_dataset("d", [one, *others, two], "cluster_tree", checksum=checksum)


def test_a_list_of_weights_is_a_bad_file(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.root", tmp_path / "lists.root"
    columns = dict(samples.topoclusters.simulate(4, seed=1))
    ntuples.write(good, "ClusterTree", columns)
    columns["weight"] = ak.Array([[1.0, 0.9], [1.0], [], [1.0]])
    ntuples.write(bad, "ClusterTree", columns)
    found = scan_dataset("d", [good, bad], "cluster_tree", events={"lists.root": 4})
    assert [file.path for file in found.files] == [str(good)]
    (problem,) = found.unreadable
    assert problem.reason.startswith(f"{bad}: branch 'weight': the event weight is a list")
    assert problem.events == 4


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
