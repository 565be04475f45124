"""The real ATLAS clusters: the published network's closure, from the file and by other means.

The expected numbers come from plain NumPy on the cells of the file.
"""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from hepcalib import hists, metrics, ntuples, run
from hepcalib.hists import VARIABLES
from hepcalib.processors.published_calibration import PublishedCalibration

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SCALES = {"EM": "cluster_E", "Published": "pred_cluster_ENG_CALIB_TOT"}
ENERGIES = np.array([0.5, 2, 5, 20, 100, 500, 2000])  # of the file's own description
DESCRIBED = {  # median of EM / true and network / true, in bins of the EM energy
    ("pion", "EM"): [1.145, 0.982, 0.908, 0.915, 0.911, 0.940],
    ("pion", "Published"): [1.004, 0.978, 0.985, 0.995, 1.001, 0.999],
    ("pi0", "EM"): [1.155, 1.092, 1.127, 1.030, 1.014, 1.008],
    ("pi0", "Published"): [1.007, 1.018, 1.006, 1.002, 1.003, 1.001],
}


@pytest.fixture(scope="session")
def path(data: Path) -> Path:
    return data / "atlas_pion_topoclusters.csv"


@pytest.fixture(scope="session")
def cells(path: Path) -> dict[str, Any]:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    words = ("file_name", "type", "pred_type")
    return {
        name: np.array([row[name] if name in words else float(row[name]) for row in rows])
        for name in rows[0]
    }


@pytest.fixture(scope="session")
def histograms(path: Path) -> dict[str, Any]:
    dataset = run.scan_dataset("pions", [path], "pion_clusters", needs=PublishedCalibration.needs)
    result = run.process(PublishedCalibration(), [dataset], chunk_size=300)
    assert result.ledger.ok, result.ledger.complaint()
    return dict(result.output)


def in_bins(values: Floats, by: Floats, edges: Any) -> list[Floats]:
    place = np.searchsorted(edges, by, side="right") - 1
    return [np.sort(values[place == i]) for i in range(len(edges) - 1)]


def bounds(ordered: Floats, probability: float) -> tuple[float, float]:
    """Where a quantile must be that is found in the bins of the response.

    Between the edges of the bins that hold the objects before and after it.
    """
    edges = np.array(hists.response("true_energy", scales=["EM"]).axes[2].edges)
    rank = probability * len(ordered)
    before, after = (
        ordered[int(np.clip(i, 0, len(ordered) - 1))] for i in (np.ceil(rank) - 1, np.floor(rank))
    )
    low = edges[np.searchsorted(edges, before, side="right") - 1]
    return float(low), float(edges[np.searchsorted(edges, after, side="right")])


def test_the_reader_gives_what_stands_in_the_file(path: Path, cells: dict[str, Any]) -> None:
    clusters = ntuples.read(path, "pion_clusters")
    assert len(clusters) == 1024
    columns = {
        "energy": "cluster_E",
        "pt": "cluster_Pt",
        "rapidity": "cluster_Eta",
        "phi": "cluster_Phi",
        "true_energy": "cluster_ENG_CALIB_TOT",
        "energy_published": "pred_cluster_ENG_CALIB_TOT",
        "charged_published": "pred_prob",
        "event": "event_ind",
        "index": "cluster_ind",
    }
    for name, cell in columns.items():
        np.testing.assert_allclose(clusters[name], cells[cell], rtol=1e-6, err_msg=name)
    charged = np.asarray(clusters.pdg_id) == 211
    assert (charged.sum(), (~charged).sum()) == (654, 370)
    assert np.array_equal(charged, cells["type"] == "pion")
    # The word of the prediction is its probability, so it is no column of its own.
    assert np.array_equal(cells["pred_prob"] > 0.5, cells["pred_type"] == "pion")
    assert np.mean((cells["pred_prob"] > 0.5) == charged) == pytest.approx(0.913, abs=5e-4)


def test_rapidity_is_that_of_massless_clusters(path: Path) -> None:
    clusters = ntuples.read(path, "pion_clusters")
    energy, pt, eta = (
        np.asarray(clusters[name], np.float64) for name in ("energy", "pt", "rapidity")
    )
    np.testing.assert_allclose(pt * np.cosh(eta), energy, rtol=1e-6)
    np.testing.assert_allclose(np.arctanh(pt * np.sinh(eta) / energy), eta, atol=1e-4)


def test_closure_as_the_file_describes_it(path: Path) -> None:
    clusters = ntuples.read(path, "pion_clusters")
    truth = np.asarray(clusters.true_energy, np.float64)
    columns = {"EM": "energy", "Published": "energy_published"}
    for (particle, scale), expected in DESCRIBED.items():
        of = np.asarray(clusters.pdg_id) == {"pion": 211, "pi0": 111}[particle]
        response = np.asarray(clusters[columns[scale]], np.float64) / truth
        measured = np.asarray(clusters.energy, np.float64)
        groups = in_bins(response[of], measured[of], ENERGIES)
        medians = [float(np.median(group)) for group in groups]
        np.testing.assert_allclose(medians, expected, atol=5.1e-4)


@pytest.mark.parametrize("particle", [None, "charged pions", "neutral pions"])
@pytest.mark.parametrize("scale", list(SCALES))
def test_closure_and_resolution_against_the_true_energy(
    histograms: dict[str, Any], cells: dict[str, Any], scale: str, particle: str | None
) -> None:
    word = {None: None, "charged pions": "pion", "neutral pions": "pi0"}[particle]
    of = np.ones(1024, bool) if word is None else cells["type"] == word
    truth = cells["cluster_ENG_CALIB_TOT"][of]
    response = cells[SCALES[scale]][of] / truth
    groups = in_bins(response, truth, VARIABLES["true_energy"].edges)
    name = scale if particle is None else f"{scale}, {particle}"
    linearity = metrics.linearity(histograms["response_true_energy"])[name]
    resolution = metrics.resolution(histograms["response_true_energy"])[name]
    assert linearity.entries.tolist() == [len(group) for group in groups]
    checked = 0
    for i, group in enumerate(groups):
        if len(group) < 10:
            assert np.isnan(linearity.median[i])
            continue
        checked += 1
        low, middle, high = (bounds(group, p) for p in (0.15865525, 0.5, 0.84134475))
        assert middle[0] <= linearity.median[i] <= middle[1]
        narrowest = (high[0] - low[1]) / (2 * middle[1])
        widest = (high[1] - low[0]) / (2 * middle[0])
        assert narrowest <= resolution.resolution[i] <= widest
    assert checked >= 9


def test_the_published_network_closes_better_than_the_em_scale(
    histograms: dict[str, Any], cells: dict[str, Any]
) -> None:
    found = metrics.linearity(histograms["response_true_energy"])
    width = metrics.resolution(histograms["response_true_energy"])
    high = found["EM"].edges[:-1] >= 2.0
    assert np.abs(found["Published"].linearity[high]).max() < 0.03
    assert np.abs(found["EM"].linearity[high]).max() > 0.05
    assert np.all(width["Published"].resolution < width["EM"].resolution)
    # Predictions of other clusters of the same bin would close, but resolve nothing.
    random = np.random.default_rng(2)
    truth, predicted = cells["cluster_ENG_CALIB_TOT"], cells[SCALES["Published"]].copy()
    inside = np.searchsorted(found["EM"].edges, truth)
    for place in np.unique(inside):
        rows = np.flatnonzero(inside == place)
        predicted[rows] = predicted[random.permutation(rows)]
    mixed = hists.response("true_energy", scales=["mixed"])
    hists.fill_response(mixed, scale="mixed", values=truth, response=predicted / truth)
    wrong = metrics.resolution(mixed)["mixed"]
    assert np.all(wrong.resolution[high] > 3.0 * width["Published"].resolution[high])


def test_another_scale_is_noticed(histograms: dict[str, Any], cells: dict[str, Any]) -> None:
    truth = cells["cluster_ENG_CALIB_TOT"]
    response = 1.02 * cells[SCALES["Published"]] / truth
    groups = in_bins(response, truth, VARIABLES["true_energy"].edges)
    found = metrics.linearity(histograms["response_true_energy"])["Published"].median
    outside = [
        not low <= value <= high
        for value, (low, high) in zip(found, (bounds(g, 0.5) for g in groups), strict=True)
    ]
    assert sum(outside[3:]) >= 6


def test_study(histograms: dict[str, Any], tmp_path: Path) -> None:
    from hepcalib.plots.style import save

    study = PublishedCalibration.study(histograms)
    assert set(study.figures) == {
        "spectrum",
        *(
            f"{kind}_{name}"
            for kind in ("linearity", "resolution")
            for name in (
                "true_energy",
                "true_energy_charged",
                "true_energy_neutral",
                "calibrated_energy",
                "rapidity",
            )
        ),
    }
    assert len(study.metrics["linearity_rapidity"]["EM"].median) == 10
    lines = study.summary
    assert float(lines["largest non-linearity above 2 GeV, Published"]) < 0.03
    assert float(lines["largest non-linearity above 2 GeV, EM"]) > 0.05
    ratio = [float(lines[f"mean relative resolution above 2 GeV, {s}"]) for s in SCALES]
    assert ratio[1] < 0.5 * ratio[0]
    png, _ = save(study.figures["linearity_true_energy"], tmp_path / "linearity")
    assert png.stat().st_size > 10_000


def test_a_file_without_particles_and_predictions(
    cluster_file: Callable[..., Path], tmp_path: Path
) -> None:
    dataset = run.scan_dataset("other", [cluster_file(tmp_path / "c.root")], "cluster_tree")
    result = run.process(PublishedCalibration(), [dataset], chunk_size=25)
    assert result.ledger.ok
    study = PublishedCalibration.study(result.output)
    assert set(study.metrics["linearity_true_energy"]) == {"EM"}
    empty = {name: histogram.copy().reset() for name, histogram in result.output.items()}
    assert PublishedCalibration.study(empty).figures
