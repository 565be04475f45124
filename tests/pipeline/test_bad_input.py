"""Bad files: an error that names them, an entry in the ledger, and the other files unharmed."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import awkward as ak
import numpy as np
import pytest
import uproot
import yaml

from hepcalib import hists, inference, ntuples

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from click.testing import Result

    Command = Callable[..., Result]
    Write = Callable[..., Path]

HTML = b"<!DOCTYPE html><html><head><title>503 Service Unavailable</title></head></html>\n"
PROCESSORS = {"cluster_response": "ClusterCalibration", "jet_response": "JetCalibration"}


@pytest.fixture
def analyse(tmp_path: Path, bundle: Write, hepcalib: Command) -> Callable[..., Result]:
    """Process files with an untrained model; the output goes to `tmp_path / "out"`."""

    def command(
        *files: Path | str, layout: str = "cluster_tree", command: str = "process", **dataset: Any
    ) -> Result:
        model = "cluster_response" if layout == "cluster_tree" else "jet_response"
        document = {
            "version": 1,
            "name": "bad",
            "workspace": str(tmp_path / "workspace"),
            "models": {"response": {"bundle": str(bundle(tmp_path / model, model=model))}},
            "datasets": {"given": {"files": [str(f) for f in files], "layout": layout, **dataset}},
            "analyses": {
                "study": {
                    "processor": f"processors:{PROCESSORS[model]}",
                    "datasets": ["given"],
                    "models": {"calibration": "response"},
                }
            },
            "run": {"chunk_size": 20},
        }
        path = tmp_path / "bad.yaml"
        path.write_text(yaml.safe_dump(document), encoding="utf-8")
        return hepcalib(command, path, "--out", tmp_path / "out")

    return command


def account(out: Path, dataset: str = "given") -> Any:
    return json.loads((out / "ledger.json").read_text(encoding="utf-8"))["datasets"][dataset]


def histograms(out: Path) -> dict[str, Any]:
    return dict(hists.from_json((out / "histograms.json").read_text(encoding="utf-8")))


def columns(path: Path) -> dict[str, Any]:
    with uproot.open(path) as file:
        return dict(file["columns"].arrays(library="np"))


def missing(path: Path, _: Write) -> None:
    assert not path.exists()


def empty(path: Path, _: Write) -> None:
    path.write_bytes(b"")


def web_page(path: Path, _: Write) -> None:
    path.write_bytes(HTML)


def truncated(path: Path, cluster_file: Write) -> None:
    content = cluster_file(path).read_bytes()
    path.write_bytes(content[: len(content) * 3 // 4])


def other_tree(path: Path, _: Write) -> None:
    ntuples.write(path, "OldTree", {"clusterE": np.ones(3)})


def fewer_branches(path: Path, cluster_file: Write) -> None:
    cluster_file(path, cluster_PTD=None, cluster_ENG_CALIB_TOT=None)


def infinite_weight(path: Path, cluster_file: Write) -> None:
    cluster_file(path, weight=np.where(np.arange(60) == 33, np.inf, 1.0))


DAMAGES = [
    (missing, "cannot be opened: No such file"),
    (empty, "the file is empty (0 bytes)"),
    (web_page, "not a ROOT file, it is a text or HTML page"),
    (truncated, "truncated: the header announces"),
    (other_tree, "there is no tree 'ClusterTree'. Trees found: OldTree"),
    (fewer_branches, "missing 2 branches 'cluster_ENG_CALIB_TOT' (nearest: 'cluster_"),
    (infinite_weight, "branch 'weight': 1 event weights are not finite, first inf in entry 33"),
]


@pytest.mark.parametrize(("damage", "reason"), DAMAGES)
def test_a_bad_file_fails_and_the_good_ones_are_unharmed(
    analyse: Command,
    cluster_file: Write,
    tmp_path: Path,
    damage: Callable[[Path, Write], None],
    reason: str,
) -> None:
    good = [cluster_file(tmp_path / f"good_{seed}.root", seed=seed) for seed in (1, 2)]
    bad = tmp_path / "bad.root"
    damage(bad, cluster_file)
    assert analyse(*good).exit_code == 0
    reference = histograms(tmp_path / "out")

    result = analyse(good[0], bad, good[1])
    assert result.exit_code == 1
    assert f"{bad}: " in result.stderr
    assert reason in result.stderr
    found = account(tmp_path / "out")
    (problem,) = found["problems"]
    assert (problem["file"], problem["kind"]) == (str(bad), "failed")
    assert reason in problem["reason"]
    assert found["chunks"]["failed"] == 1
    assert found["events"]["processed"] == found["sum_of_weights"]["processed"] == 120
    for name, histogram in histograms(tmp_path / "out").items():
        assert np.array_equal(histogram.view(flow=True), reference[name].view(flow=True))
    assert len(columns(tmp_path / "out" / "columns" / "study_given.root")["event"]) == 120


@pytest.mark.parametrize(("damage", "reason"), DAMAGES)
def test_a_tolerated_bad_file_is_skipped_with_its_reason(
    analyse: Command,
    cluster_file: Write,
    tmp_path: Path,
    damage: Callable[[Path, Write], None],
    reason: str,
) -> None:
    good, bad = cluster_file(tmp_path / "good.root"), tmp_path / "bad.root"
    damage(bad, cluster_file)
    declared = {"events": {"bad.root": 60}, "sum_of_weights": {"bad.root": 60.0}}
    result = analyse(good, bad, tolerate_bad_files=True, **declared)
    assert result.exit_code == 0, result.output
    found = account(tmp_path / "out")
    assert found["events"] == {"expected": 120, "processed": 60, "skipped": 60, "failed": 0}
    assert found["sum_of_weights"]["skipped"] == 60.0
    (problem,) = found["problems"]
    assert (problem["file"], problem["kind"]) == (str(bad), "skipped")
    assert reason in problem["reason"]


def test_nothing_but_a_bad_file(analyse: Command, tmp_path: Path) -> None:
    bad = tmp_path / "bad.root"
    bad.write_bytes(HTML)
    result = analyse(bad, command="run", events={"bad.root": 60})
    assert result.exit_code == 1
    assert f"Error: dataset 'given': failed: {bad}: not a ROOT file" in result.stderr
    assert account(tmp_path / "out")["events"]["failed"] == 60
    assert histograms(tmp_path / "out") == {}
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == {}


def test_a_flipped_bit_is_seen_with_a_declared_checksum(
    analyse: Command, cluster_file: Write, tmp_path: Path
) -> None:
    path = cluster_file(tmp_path / "clusters.root")
    content = bytearray(path.read_bytes())
    good = hashlib.sha256(content).hexdigest()
    assert analyse(path, sha256={"clusters.root": good}).exit_code == 0
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    result = analyse(path, sha256={"clusters.root": good})
    assert result.exit_code == 1
    flipped = hashlib.sha256(content).hexdigest()
    assert f"{path}: sha256 is {flipped}, expected {good}" in result.stderr
    (problem,) = account(tmp_path / "out")["problems"]
    assert "the file is damaged or another one" in problem["reason"]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_feature_that_is_not_finite_fails_its_chunk(
    analyse: Command, cluster_file: Write, tmp_path: Path, value: float
) -> None:
    rapidity = np.where(np.arange(60) == 27, value, 0.5).astype(np.float32)
    path = cluster_file(tmp_path / "clusters.root", clusterEta=rapidity)
    result = analyse(path)
    assert result.exit_code == 1
    where = f"dataset 'given', {path}, entries 20-40, clusters of positive energy"
    expected = f"{where}: feature 'cluster.rapidity' is not finite for 1 of 20"
    assert f"{expected}, first in row 7: {value}" in result.stderr
    found = account(tmp_path / "out")
    assert found["events"] == {"expected": 60, "processed": 40, "skipped": 0, "failed": 20}
    assert found["problems"][0]["entries"] == [20, 40]
    assert analyse(path, tolerate_bad_files=True).exit_code == 0
    assert account(tmp_path / "out")["events"]["skipped"] == 20


def test_a_true_energy_that_is_not_finite_is_an_error(
    analyse: Command, cluster_file: Write, tmp_path: Path
) -> None:
    truth = np.where(np.arange(60) == 59, np.nan, 5.0)
    path = cluster_file(tmp_path / "clusters.root", cluster_ENG_CALIB_TOT=truth)
    result = analyse(path)
    assert result.exit_code == 1
    assert f"{path}, entries 40-60: DataError: true: 1 values are not positive" in result.stderr


def test_noise_is_calibrated_but_has_no_response(
    analyse: Command, cluster_file: Write, tmp_path: Path
) -> None:
    truth = np.where(np.arange(60) < 7, 0.0, 5.0)
    energy = np.where(np.arange(60) >= 50, -1.0, 4.0)
    path = cluster_file(tmp_path / "c.root", cluster_ENG_CALIB_TOT=truth, clusterE=energy)
    result = analyse(path)
    assert result.exit_code == 0, result.output
    response = histograms(tmp_path / "out")["study/response_true_energy"]
    assert response.view(flow=True)["value"].sum(axis=(1, 2)).tolist() == [43.0] * 4
    assert len(columns(tmp_path / "out" / "columns" / "study_given.root")["event"]) == 60


def test_a_constituent_that_is_not_finite_is_named(
    analyse: Command, jet_file: Write, tmp_path: Path
) -> None:
    path = jet_file(tmp_path / "jets.root", counts=[1, 2], sizes=[1, 1, 1], PFCand_pt=None)
    path = jet_file(path, counts=[1, 2], sizes=[1, 1, 1], PFCand_pt=[[5.0], [3.0, np.nan]])
    result = analyse(path, layout="flat_jets")
    assert result.exit_code == 1
    message = "'PFCand_pt' is not finite for 1 jet constituents, first nan in jet 1 of entry 1"
    assert f"{path}" in result.stderr
    assert message in result.stderr


def test_a_file_without_entries_is_no_error(
    analyse: Command, cluster_file: Write, tmp_path: Path
) -> None:
    none = cluster_file(tmp_path / "none.root", clusters=0)
    result = analyse(none, cluster_file(tmp_path / "some.root"))
    assert result.exit_code == 0, result.output
    assert account(tmp_path / "out")["chunks"]["processed"] == 4
    assert len(columns(tmp_path / "out" / "columns" / "study_given.root")["event"]) == 60
    assert analyse(none).exit_code == 0
    assert account(tmp_path / "out")["events"]["expected"] == 0


def test_events_without_jets_give_empty_results(
    analyse: Command, jet_file: Write, tmp_path: Path
) -> None:
    path = jet_file(tmp_path / "jets.root", counts=[0] * 30)
    result = analyse(path, layout="flat_jets", command="run")
    assert result.exit_code == 0, result.output
    assert account(tmp_path / "out")["events"]["processed"] == 30
    assert all(h.sum(flow=True).value == 0 for h in histograms(tmp_path / "out").values())
    found = columns(tmp_path / "out" / "columns" / "study_given.root")
    assert {name: len(column) for name, column in found.items()} == dict.fromkeys(found, 0)
    assert "pt_calibrated" in found


def test_jets_without_constituents_have_a_result_of_their_own(
    analyse: Command, jet_file: Write, tmp_path: Path
) -> None:
    sizes = [0, 3, 0, 0, 5, 0] * 8
    path = jet_file(tmp_path / "jets.root", sizes=sizes)
    result = analyse(path, layout="flat_jets")
    assert result.exit_code == 0, result.output
    found = columns(tmp_path / "out" / "columns" / "study_given.root")
    jets = ak.flatten(ntuples.read(path, "flat_jets"))
    for row in (0, 2, 3, 5):
        alone = inference.predict(tmp_path / "jet_response", jets[row : row + 1])
        assert found["response"][row] == pytest.approx(alone.response[0], rel=1e-5)
    response = histograms(tmp_path / "out")["study/response_true_pt"][0, :, :]
    assert len(found["response"]) == len(sizes)
    assert response.sum(flow=True).value == pytest.approx(ak.sum(jets.weight), rel=1e-12)


def test_negative_weights_are_summed(analyse: Command, jet_file: Write, tmp_path: Path) -> None:
    weight = np.random.default_rng(5).normal(0.2, 1.0, 32)
    assert (weight < 0).any()
    path = jet_file(tmp_path / "jets.root", genWeight=weight)
    result = analyse(path, layout="flat_jets")
    assert result.exit_code == 0, result.output
    sums = account(tmp_path / "out")["sum_of_weights"]
    assert sums["expected"] == pytest.approx(weight.sum(), rel=1e-12)
    assert sums["processed"] == pytest.approx(weight.sum(), rel=1e-12)
    response = histograms(tmp_path / "out")["study/response_mu"][0, :, :].sum(flow=True)
    jets = np.tile([2, 0, 1, 3], 8)
    assert response.value == pytest.approx((weight * jets).sum(), rel=1e-12)
    assert response.variance == pytest.approx((weight**2 * jets).sum(), rel=1e-12)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (("{}/nothing_*.root",), "dataset 'given': no file matches {}/nothing_*.root"),
        (("{}/a.root", "{}/*.root"), "dataset 'given': counted twice: {}/a.root"),
        (("${{NOWHERE}}/a.root",), "datasets.given.files.0: the variable NOWHERE in"),
    ],
)
def test_files_that_cannot_be_meant(
    analyse: Command, tmp_path: Path, files: tuple[str, ...], message: str
) -> None:
    (tmp_path / "a.root").write_bytes(HTML)
    result = analyse(*(file.format(tmp_path) for file in files))
    assert result.exit_code == 2
    assert message.format(tmp_path) in result.stderr
    assert not (tmp_path / "out").exists()
