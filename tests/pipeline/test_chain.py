"""Every shipped configuration runs, on reduced samples, and accounts for all it was given."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import uproot
import yaml

from hepcalib import hists, ntuples

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from click.testing import Result

    Command = Callable[..., Result]

pytestmark = pytest.mark.xdist_group("quickstart")  # one run serves them all

FILES = ("config.yaml", "provenance.json", "ledger.json", "histograms.json", "histograms.root")


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def sizes(quickstart: Path) -> dict[str, int]:
    """Objects per dataset, counted from the ntuples."""
    samples = quickstart / "workspace" / "samples"
    layouts = {"clusters_test": "cluster_tree", "qcd_test": "flat_jets", "wprime_test": "flat_jets"}
    counted = {}
    for name, layout in layouts.items():
        (path,) = samples.glob(f"{name}-*.root")
        objects = ntuples.read(path, layout, columns=["event"])
        counted[name] = (
            len(objects) if layout == "cluster_tree" else int(np.sum(objects.event >= 0))
        )
    return counted


def test_output_directory_is_complete(quickstart: Path) -> None:
    out = quickstart / "out"
    for name in (*FILES, "metrics.json"):
        assert (out / name).stat().st_size > 0
    pngs = {path.stem for path in (out / "figures").glob("*.png")}
    assert pngs == {path.stem for path in (out / "figures").glob("*.pdf")}
    assert {"clusters_resolution_true_energy", "jets_linearity_mu", "tagging_roc"} <= pngs
    assert set(read_json(out / "metrics.json")) == {"clusters", "jets", "tagging"}


def test_ledger_balances(quickstart: Path) -> None:
    ledger = read_json(quickstart / "out" / "ledger.json")
    assert ledger["balanced"] is True
    expected = {"clusters": 4000, "qcd": 120, "wprime": 120}
    for name, events in expected.items():
        account = ledger["datasets"][name]
        assert account["events"] == {
            "expected": events,
            "processed": events,
            "skipped": 0,
            "failed": 0,
        }
        assert account["problems"] == []
        weights = account["sum_of_weights"]
        assert weights["processed"] == pytest.approx(weights["expected"], rel=1e-9)
    assert ledger["datasets"]["clusters"]["sum_of_weights"]["expected"] == 4000.0


def test_every_object_is_in_the_histograms_and_columns(quickstart: Path) -> None:
    out = quickstart / "out"
    filled = hists.from_json((out / "histograms.json").read_text(encoding="utf-8"))
    response = filled["clusters/response_true_energy"]
    assert response.values(flow=True).sum(axis=(1, 2)).tolist() == [4000.0] * 4
    rows = {"clusters_clusters": 4000} | {
        f"{analysis}_{dataset}": size
        for dataset, size in (("qcd", sizes(quickstart)["qcd_test"]),)
        for analysis in ("jets", "tagging")
    }
    for name, expected in rows.items():
        with uproot.open(out / "columns" / f"{name}.root") as file:
            assert file["columns"].num_entries == expected


def test_columns_are_the_input_with_calibration(quickstart: Path) -> None:
    (path,) = (quickstart / "workspace" / "samples").glob("clusters_test-*.root")
    clusters = ntuples.read(path, "cluster_tree")
    with uproot.open(quickstart / "out" / "columns" / "clusters_clusters.root") as file:
        columns = file["columns"].arrays(library="np")
    for key in ("run", "event", "index"):
        assert np.array_equal(columns[key], np.asarray(clusters[key]))
    energy = np.asarray(clusters.energy, dtype=np.float64)
    np.testing.assert_allclose(columns["energy_calibrated"] * columns["response"], energy, 1e-12)
    total = np.hypot(columns["energy_sigma_stat"], columns["energy_sigma_syst"])
    np.testing.assert_allclose(columns["energy_sigma_tot"], total, rtol=1e-5)


def test_second_run_makes_nothing_again(quickstart: Path, hepcalib: Command) -> None:
    made = sorted((quickstart / "workspace").rglob("*"))
    times = [path.stat().st_mtime_ns for path in made]
    for step in ("simulate", "train"):
        result = hepcalib(step, quickstart / "quickstart.yaml")
        assert result.exit_code == 0, result.output
    assert sorted((quickstart / "workspace").rglob("*")) == made
    assert [path.stat().st_mtime_ns for path in made] == times


def test_changed_training_is_out_of_date(
    quickstart: Path, hepcalib: Command, tmp_path: Path
) -> None:
    text = (quickstart / "quickstart.yaml").read_text(encoding="utf-8")
    changed = tmp_path / "changed.yaml"
    changed.write_text(text.replace("epochs: 3", "epochs: 4"), encoding="utf-8")
    result = hepcalib("run", changed, "--dry-run")
    assert result.exit_code == 0, result.output
    assert result.output.count("to do") == 4
    assert result.output.count("up to date") == 6


@pytest.mark.parametrize("options", [("futures", "2", "700"), ("dask", "2", "4000")])
def test_executors_and_chunks_agree(
    quickstart: Path, hepcalib: Command, tmp_path: Path, options: tuple[str, str, str]
) -> None:
    executor, workers, chunk = options
    arguments = ("--executor", executor, "--workers", workers, "--chunk-size", chunk)
    config = quickstart / "quickstart.yaml"
    result = hepcalib("process", config, "--out", tmp_path, *arguments)
    assert result.exit_code == 0, result.output
    reference, found = (
        hists.from_json((out / "histograms.json").read_text(encoding="utf-8"))
        for out in (quickstart / "out", tmp_path)
    )
    assert found.keys() == reference.keys()
    for name, histogram in reference.items():
        values = histogram.values(flow=True)
        other = found[name].values(flow=True)
        assert other.sum() == pytest.approx(values.sum(), rel=1e-12)
        # Predictions agree to 1e-5, so that an object on a bin edge may change its bin.
        assert np.abs(other - values).sum() <= 2e-3 * np.abs(values).sum()


def test_max_events_leaves_the_rest_in_the_ledger(
    quickstart: Path, hepcalib: Command, tmp_path: Path
) -> None:
    config = quickstart / "quickstart.yaml"
    result = hepcalib("process", config, "--out", tmp_path, "--max-events", "100")
    assert result.exit_code == 0, result.output
    ledger = read_json(tmp_path / "ledger.json")
    assert ledger["datasets"]["clusters"]["events"] == {
        "expected": 4000,
        "processed": 100,
        "skipped": 3900,
        "failed": 0,
    }
    assert ledger["balanced"] is True


def test_plot_alone_draws_the_same(quickstart: Path, hepcalib: Command, tmp_path: Path) -> None:
    """One analysis tells: the others are drawn in the same way."""
    document = yaml.safe_load((quickstart / "quickstart.yaml").read_text(encoding="utf-8"))
    document["analyses"] = {"tagging": document["analyses"]["tagging"]}
    config, out = tmp_path / "quickstart.yaml", tmp_path / "out"
    config.write_text(yaml.safe_dump(document), encoding="utf-8")
    shutil.copytree(quickstart / "out", out)
    metrics = read_json(out / "metrics.json")
    shutil.rmtree(out / "figures")
    result = hepcalib("plot", config, "--out", out)
    assert result.exit_code == 0, result.output
    assert read_json(out / "metrics.json") == {"tagging": metrics["tagging"]}
    drawn = {path.name: path.read_bytes() for path in (out / "figures").iterdir()}
    assert {"tagging_score.png", "tagging_roc.pdf", "training_tagger.png"} <= drawn.keys()
    for name, content in drawn.items():
        assert content == (quickstart / "out" / "figures" / name).read_bytes()


def test_provenance_names_inputs_and_bundles(quickstart: Path) -> None:
    provenance = read_json(quickstart / "out" / "provenance.json")
    assert set(provenance["inputs"]) == {"clusters", "qcd", "wprime"}
    assert all(len(f["sha256"]) == 64 for files in provenance["inputs"].values() for f in files)
    assert set(provenance["bundles"]) == {
        "cluster_response",
        "jet_response",
        "tagger",
        "decorrelated_tagger",
    }
    assert provenance["versions"]["torch"]


@pytest.mark.usefixtures("drawn_once")
@pytest.mark.parametrize("name", ["topoclusters", "prior_independence"])
def test_studies_of_clusters_run(
    tmp_path: Path, hepcalib: Command, reduced: Callable[..., Path], name: str
) -> None:
    result = hepcalib("run", reduced(f"{name}.yaml", tmp_path), "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    ledger = read_json(tmp_path / "out" / "ledger.json")
    assert ledger["datasets"]["clusters"]["events"]["processed"] == 4000
    figures = {path.stem for path in (tmp_path / "out" / "figures").glob("*.png")}
    expected = {
        "topoclusters": {"clusters_training_size", "clusters_agreement", "clusters_density"},
        "prior_independence": {"closure_closure_median"},
    }
    assert expected[name] <= figures
