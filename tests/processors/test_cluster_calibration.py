from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import uproot

from hepcalib import bundles, inference, ntuples, run
from hepcalib.processors import ClusterCalibration

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Write = Callable[..., Path]

SCALES = ("EM", "LCW", "Calibrated", "Best possible")
IDENTITY = ("run", "event", "index", "weight", "energy", "true_energy", "in_range")
CALIBRATED = (
    "energy_calibrated",
    "response",
    *(f"{what}_sigma_{k}" for what in ("energy", "target") for k in ("stat", "syst", "tot")),
    "target_mean",
    "interval_low",
    "interval_high",
)


@pytest.fixture
def calibrate(tmp_path: Path, bundle: Write) -> Callable[[Path], dict[str, Any]]:
    model = bundle(tmp_path / "bundle", model="cluster_response")

    def process(file: Path) -> dict[str, Any]:
        columns = str(tmp_path / "columns")
        processor = ClusterCalibration(calibration=model, columns=columns)
        dataset = run.scan_dataset("given", [file], "cluster_tree")
        result = run.process(processor, [dataset], chunk_size=20)
        assert result.ledger.ok
        return dict(result.output)

    return process


def entries(histogram: Any) -> dict[str, float]:
    sums = histogram.view(flow=True)["value"].sum(axis=(1, 2))
    return dict(zip(histogram.axes["scale"], sums.tolist(), strict=True))


def test_response_is_measured_over_true(
    calibrate: Callable[[Path], dict[str, Any]], cluster_file: Write, tmp_path: Path
) -> None:
    energy, weight = np.full(60, 8.0), np.full(60, 0.5)
    path = cluster_file(
        tmp_path / "c.root",
        clusterE=energy,
        cluster_ENG_CALIB_TOT=np.full(60, 10.0),
        cluster_HAD_WEIGHT=np.full(60, 1.25),
        cluster_ORACLE_RESPONSE=np.full(60, 0.4),
        weight=weight,
    )
    response = calibrate(path)["response_mu"]
    assert entries(response) == dict.fromkeys(SCALES, 30.0)
    for scale, expected in {"EM": 0.8, "LCW": 1.0001, "Best possible": 2.0}.items():
        assert response[scale, sum, complex(0, expected)].value == 30.0


def test_scales_that_the_ntuple_does_not_have_stay_empty(
    calibrate: Callable[[Path], dict[str, Any]], cluster_file: Write, tmp_path: Path
) -> None:
    absent = {"cluster_HAD_WEIGHT": None, "cluster_ORACLE_RESPONSE": None}
    output = calibrate(cluster_file(tmp_path / "c.root", **absent))
    expected = {"EM": 60.0, "LCW": 0.0, "Calibrated": 60.0, "Best possible": 0.0}
    assert entries(output["response_true_energy"]) == expected
    metrics = ClusterCalibration.study(output).metrics
    assert set(metrics["linearity_mu"]) == {"EM", "Calibrated"}


def test_a_scale_that_single_clusters_lack(
    calibrate: Callable[[Path], dict[str, Any]], cluster_file: Write, tmp_path: Path
) -> None:
    oracle = np.where(np.arange(60) == 30, np.nan, 0.9)
    output = calibrate(cluster_file(tmp_path / "c.root", cluster_ORACLE_RESPONSE=oracle))
    assert entries(output["response_true_energy"])["Best possible"] == 59.0
    assert entries(output["response_true_energy"])["EM"] == 60.0


def test_columns_are_the_prediction(
    calibrate: Callable[[Path], dict[str, Any]], cluster_file: Write, tmp_path: Path
) -> None:
    path = cluster_file(tmp_path / "c.root")
    calibrate(path)
    merged = tmp_path / "merged.root"
    assert ntuples.merge_parts(tmp_path / "columns" / "given", merged) == 60
    with uproot.open(merged) as file:
        columns = file["columns"].arrays(library="np")
    clusters = ntuples.read(path, "cluster_tree")
    answer = inference.predict(tmp_path / "bundle", clusters)
    expected = np.asarray(clusters.energy, np.float64) / np.asarray(answer.response)
    np.testing.assert_allclose(columns["energy_calibrated"], expected, rtol=1e-5)
    relative = columns["energy_sigma_tot"] / columns["energy_calibrated"]
    np.testing.assert_allclose(relative, answer.sigma_tot / answer.response, rtol=1e-5)
    assert np.array_equal(columns["in_range"], np.asarray(answer.in_range))
    for name in ("response", "interval_low", "interval_high", "target_mean", "target_sigma_tot"):
        np.testing.assert_allclose(columns[name], answer[name], rtol=1e-5)


@pytest.mark.parametrize("target", ["log10_response", "log10_truth"])
def test_clusters_without_a_positive_energy_keep_their_row(
    cluster_file: Write, bundle: Write, tmp_path: Path, target: Any
) -> None:
    found = bundles.load(bundle(tmp_path / "some", model="cluster_response"))
    kind: dict[str, Any] = {"kind": "response", "object": "cluster", "quantity": "energy"}
    model = tmp_path / target
    bundles.save(model, found.model, found.inputs, name="mine", target=target, **kind)
    energy, true = np.full(60, 8.0), np.full(60, 10.0)
    energy[[3, 21, 22, 40]] = [0.0, -1.0, -0.5, -2.0]
    true[50] = -1.0  # noise: calibrated, but without a response
    path = cluster_file(tmp_path / "c.root", clusterE=energy, cluster_ENG_CALIB_TOT=true)
    processor = ClusterCalibration(calibration=model, columns=str(tmp_path / "columns"))
    result = run.process(
        processor, [run.scan_dataset("given", [path], "cluster_tree")], chunk_size=20
    )
    assert result.ledger.ok, result.ledger.complaint()
    assert entries(result.output["response_mu"])["Calibrated"] == pytest.approx(
        ntuples.read(path, "cluster_tree").weight[(energy > 0) & (true > 0)].to_numpy().sum()
    )
    merged = tmp_path / "merged.root"
    assert ntuples.merge_parts(tmp_path / "columns" / "given", merged) == 60
    with uproot.open(merged) as file:
        columns = file["columns"].arrays(library="np")
    assert sorted(columns) == sorted({*IDENTITY, *CALIBRATED})
    for name in IDENTITY:
        assert np.isfinite(columns[name]).all(), name
    for name in CALIBRATED:
        assert np.array_equal(np.isfinite(columns[name]), energy > 0), name
    assert not columns["in_range"][energy <= 0].any()


@pytest.mark.parametrize("chunk_size", [1, 2, 4])
def test_weights_that_cancel_are_accounted_for(
    cluster_file: Callable[..., Path], bundle: Callable[..., Path], tmp_path: Path, chunk_size: int
) -> None:
    weight = np.array([0.1, 0.2, 0.3, -0.6])
    path = cluster_file(tmp_path / "clusters.root", clusters=4, weight=weight)
    processor = ClusterCalibration(calibration=bundle(tmp_path / "b", model="cluster_response"))
    dataset = run.scan_dataset("given", [path], "cluster_tree")
    ledger = run.process(processor, [dataset], chunk_size=chunk_size).ledger
    assert ledger.ok, ledger.complaint()
