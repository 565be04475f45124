from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import awkward as ak
import numpy as np
import pytest
import uproot

from hepcalib import ntuples
from hepcalib.exceptions import NtupleError
from hepcalib.ntuples import Column, Layout, scan, sum_of_weights

if TYPE_CHECKING:
    from pathlib import Path

REASONS = {
    "empty.root": "the file is empty",
    "html_error_page.root": "not a ROOT file, it is a text or HTML page",
    "missing_branch.root": "tree 'Events' is missing branch 'Jet_rawFactor'",
    "missing_tree.root": "there is no tree 'Events'. Trees found: EventsOld",
    "truncated.root": "truncated: the header announces 2876917 bytes, the file has 1000000",
    "truncated_tail.root": "truncated: the header announces",
}
BIT_FLIPS = ["bitflip_zstd_counts.root", "bitflip_zstd_raises.root", "bitflip_zstd_silent.root"]


def test_reference(data: Path) -> None:
    summary = scan(data / "damaged" / "reference_zstd.root", "nanoaod_ak4", checksum=True)
    assert summary.entries == 200
    assert summary.sum_of_weights == pytest.approx(70034, abs=0.01)
    assert summary.sha256 == _declared(data, "damaged/reference_zstd.root")
    assert summary.size == (data / "damaged" / "reference_zstd.root").stat().st_size
    jets = ntuples.read(summary.path, "nanoaod_ak4")
    assert float(np.sum(jets.pt_published)) == pytest.approx(90113.914, rel=1e-6)


@pytest.mark.parametrize("name", sorted(REASONS))
def test_damaged_file_is_an_error_with_its_name_and_reason(data: Path, name: str) -> None:
    path = data / "damaged" / name
    with pytest.raises(NtupleError) as error:
        scan(path, "nanoaod_ak4")
    assert str(path) in str(error.value)
    assert REASONS[name] in str(error.value)


@pytest.mark.parametrize("name", BIT_FLIPS)
def test_flipped_bits_are_found_by_the_checksum(data: Path, name: str) -> None:
    expected = _declared(data, "damaged/reference_zstd.root")
    assert scan(data / "damaged" / name, "nanoaod_ak4").entries == 200  # nothing to see without it
    with pytest.raises(NtupleError, match=rf"{name}: sha256 is .*, expected {expected}"):
        scan(data / "damaged" / name, "nanoaod_ak4", sha256=expected)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("bitflip_zstd_raises.root", "'Jet_pt' cannot be read: DecompressionError"),
        ("bitflip_zstd_counts.root", "'Jet_pt' and counter 'nJet' disagree in 3 events"),
    ],
)
def test_flipped_bits_are_found_by_reading(data: Path, name: str, reason: str) -> None:
    with pytest.raises(NtupleError, match=rf"{name}, entries 0-200: .*{reason}"):
        ntuples.read(data / "damaged" / name, "nanoaod_ak4")


def test_silent_bit_flip_is_not_found_by_reading(data: Path) -> None:
    jets = ntuples.read(data / "damaged" / "bitflip_zstd_silent.root", "nanoaod_ak4")
    assert float(np.sum(jets.pt_published)) == pytest.approx(90504.695, rel=1e-6)


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(NtupleError, match=r"nowhere.root: cannot be opened: No such file"):
        scan(tmp_path / "nowhere.root", "flat_jets")
    with pytest.raises(NtupleError, match="cannot be opened: Is a directory"):
        scan(tmp_path, "flat_jets")


def test_wrong_magic_and_garbled_header(tmp_path: Path, jets: Path) -> None:
    (tmp_path / "zip.root").write_bytes(b"PK\x03\x04" + bytes(600))
    with pytest.raises(NtupleError, match=r"zip.root: not a ROOT file, it starts with b'PK"):
        scan(tmp_path / "zip.root", "flat_jets")
    (tmp_path / "garbled.root").write_bytes(jets.read_bytes()[:100] + bytes(20_000))
    with pytest.raises(NtupleError, match=r"garbled.root: "):
        scan(tmp_path / "garbled.root", "flat_jets")


def test_every_truncation_is_found(tmp_path: Path, jets: Path) -> None:
    whole = jets.read_bytes()
    path = tmp_path / "cut.root"
    for size in np.linspace(1, len(whole) - 1, 40, dtype=int):
        path.write_bytes(whole[:size])
        with pytest.raises(NtupleError, match=r"cut.root: "):
            scan(path, "flat_jets")


def test_something_else_of_the_tree_name(tmp_path: Path) -> None:
    with uproot.recreate(tmp_path / "hist.root") as file:
        file["Events"] = np.histogram([1.0, 2.0])
    with pytest.raises(NtupleError, match=r"hist.root: .*'Events'"):
        scan(tmp_path / "hist.root", "flat_jets")


def test_needed_columns_must_be_there(clusters: Path) -> None:
    assert scan(clusters, "cluster_tree", needs=["energy", "true_energy", "weight"]).entries == 40
    with pytest.raises(NtupleError, match="missing branch 'cluster_HAD_WEIGHT'"):
        scan(clusters, "cluster_tree", needs=["energy", "had_weight"])


def test_many_missing_branches_are_told_in_a_readable_line(
    tmp_path: Path, cluster_columns: dict[str, Any]
) -> None:
    path = tmp_path / "renamed.root"
    ntuples.write(path, "ClusterTree", {f"my_{k}": v for k, v in cluster_columns.items()})
    with pytest.raises(NtupleError) as error:
        scan(path, "cluster_tree")
    said = str(error.value)
    missing = int(said.partition("missing ")[2].split()[0])
    assert missing > 6
    assert f" and {missing - 4} others; it has" in said
    assert said.count("(nearest: 'my_") == 4
    assert len(said) - len(str(path)) < 500


def test_weights_are_summed_in_double_precision(
    tmp_path: Path, cluster_columns: dict[str, Any]
) -> None:
    weight = np.full(40, 0.1, np.float32)
    weight[0] = 2.0**24
    ntuples.write(tmp_path / "w.root", "ClusterTree", {**cluster_columns, "weight": weight})
    summary = scan(tmp_path / "w.root", "cluster_tree")
    assert summary.sum_of_weights == pytest.approx(2.0**24 + 39 * float(weight[1]), rel=1e-15)
    assert sum_of_weights(tmp_path / "w.root", "cluster_tree", start=1, stop=11) == pytest.approx(
        1.0
    )


def test_negative_weights_are_legitimate_and_no_weights_count_one(
    jets: Path, clusters: Path
) -> None:
    assert scan(jets, "flat_jets").sum_of_weights == 2.75
    assert scan(clusters, "cluster_tree").sum_of_weights == 40.0


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_weights_must_be_finite(tmp_path: Path, jet_columns: dict[str, Any], value: float) -> None:
    columns = {**jet_columns, "genWeight": np.array([1.0, 1.0, value, 1.0])}
    ntuples.write(tmp_path / "w.root", "Events", columns)
    with pytest.raises(
        NtupleError, match=r"w.root: branch 'genWeight': 1 event weights .* entry 2"
    ):
        scan(tmp_path / "w.root", "flat_jets")


@pytest.mark.parametrize(
    ("weights", "what"),
    [
        (ak.Array([[1.0, 0.9], [1.0], [], [1.0]]), "a list"),
        (ak.Array([[1.0], [1.0], [1.0], [1.0]]), "a list"),
        (np.ones((4, 2)), "a list"),
        (ak.Array(["1", "2", "3", "4"]), "a list"),
    ],
)
def test_a_weight_is_one_number(tmp_path: Path, weights: Any, what: str) -> None:
    path = tmp_path / "w.root"
    columns = {"nJet": np.ones(4, np.int32), "Jet_pt": ak.Array([[1.0]] * 4), "genWeight": weights}
    with uproot.recreate(path) as file:
        file.mktree("Events", {name: ak.Array(c).type.content for name, c in columns.items()})
        file["Events"].extend(columns)
    layout = Layout("w", "Events", "jet", {"weight": Column("genWeight")}, jets="Jet")
    match = rf"w\.root: branch 'genWeight': the event weight is {what} per entry; needed: one"
    with pytest.raises(NtupleError, match=match):
        scan(path, layout)


def test_an_empty_tree_is_legitimate(tmp_path: Path, jet_columns: dict[str, Any]) -> None:
    ntuples.write(tmp_path / "e.root", "Events", {n: c[:0] for n, c in jet_columns.items()})
    summary = scan(tmp_path / "e.root", "flat_jets")
    assert (summary.entries, summary.sum_of_weights) == (0, 0.0)


def test_checksum_is_that_of_the_bytes(jets: Path) -> None:
    assert scan(jets, "flat_jets").sha256 is None
    expected = hashlib.sha256(jets.read_bytes()).hexdigest()
    assert scan(jets, "flat_jets", checksum=True).sha256 == expected
    assert scan(jets, "flat_jets", sha256=expected.upper()).sha256 == expected


def test_a_url_is_left_to_the_reader_of_its_protocol(jets: Path) -> None:
    summary = scan(f"file://{jets}", "flat_jets")
    assert (summary.entries, summary.size) == (4, 0)
    expected = hashlib.sha256(jets.read_bytes()).hexdigest()
    assert scan(f"file://{jets}", "flat_jets", sha256=expected).sha256 == expected
    for checksum in (False, True):
        with pytest.raises(NtupleError, match=r"file:///nowhere.root: cannot be opened: FileNotF"):
            scan("file:///nowhere.root", "flat_jets", checksum=checksum)


@pytest.mark.parametrize("layout", ["flat_jets", "pion_clusters"])
@pytest.mark.parametrize("protocol", ["nosuch", "davs", "s3"])
@pytest.mark.parametrize("checksum", [False, True])
def test_a_protocol_without_a_plugin(layout: str, protocol: str, checksum: bool) -> None:
    match = rf"^{protocol}://host//a\.root: cannot be opened: .*'{protocol}://' cannot be read here"
    with pytest.raises(NtupleError, match=match) as caught:
        scan(f"{protocol}://host//a.root", layout, checksum=checksum)
    assert "\n" not in str(caught.value)


def _declared(data: Path, name: str) -> str:
    lines = (data / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    return next(line.split()[0] for line in lines if line.split()[1] == name)
