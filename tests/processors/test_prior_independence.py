from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from hepcalib import inference, ntuples, run
from hepcalib.exceptions import ConfigError
from hepcalib.hists.closure import closure, fill_closure, fill_sampled_spectrum, sampled_spectra
from hepcalib.processors.prior_independence import PriorIndependence

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Write = Callable[..., Path]

ROWS = 60_000


@pytest.fixture
def processor(tmp_path: Path, bundle: Write) -> PriorIndependence:
    nominal, other = (
        bundle(tmp_path / name, model="cluster_response") for name in ("nominal", "other")
    )
    return PriorIndependence(
        MSE=nominal, MSE_shifted=other, BNN=nominal, spectra=["nominal", "uniform"]
    )


def output_of(processor: PriorIndependence, file: Path, **options: Any) -> dict[str, Any]:
    dataset = run.scan_dataset("given", [file], "cluster_tree")
    result = run.process(processor, [dataset], **options)
    assert result.ledger.ok
    return dict(result.output)


def test_calibrated_over_true_of_each_method(
    processor: PriorIndependence, cluster_file: Write, tmp_path: Path
) -> None:
    path = cluster_file(tmp_path / "c.root", weight=np.full(60, 0.5))
    output = output_of(processor, path, chunk_size=20)
    clusters = ntuples.read(path, "cluster_tree")
    answer = inference.predict(tmp_path / "nominal", clusters)
    true = np.asarray(clusters.true_energy, np.float64)
    ratio = np.asarray(clusters.energy / answer.response) / true
    filled = output["closure"]["MSE", :, :]
    expected, *_ = np.histogram2d(
        true, ratio, bins=[axis.edges for axis in filled.axes], weights=np.full(60, 0.5)
    )
    assert np.abs(filled.values() - expected).sum() <= 1.0  # float32: one may change its bin
    assert output["closure"].axes["method"].size == 3
    assert output["spectrum"]["nominal", sum].value == 30.0


def test_noise_and_negative_energies_are_left_out(
    processor: PriorIndependence, cluster_file: Write, tmp_path: Path
) -> None:
    true = np.where(np.arange(60) < 10, 0.0, 5.0)
    path = cluster_file(tmp_path / "c.root", cluster_ENG_CALIB_TOT=true, weight=np.ones(60))
    assert output_of(processor, path)["spectrum"]["nominal", sum].value == 50.0


def filled(methods: dict[str, float]) -> dict[str, Any]:
    """Histograms of methods whose calibrated energy is the true one times exp(N(bias, 0.2^2))."""
    random = np.random.default_rng(1)
    true = 10.0 ** random.uniform(0.0, 2.0, ROWS)
    histogram, spectrum = closure(list(methods)), sampled_spectra(["nominal", "harder"])
    noise = 0.2 * random.normal(size=ROWS)
    for method, bias in methods.items():
        fill_closure(histogram, method=method, true=true, calibrated=true * np.exp(noise + bias))
    fill_sampled_spectrum(spectrum, true)
    return {"closure": histogram, "spectrum": spectrum}


def test_study_states_the_shift_of_each_method() -> None:
    study = PriorIndependence.study(
        filled({"MSE": 0.03, "MSE_shifted": 0.01, "GNI": 0.0, "GNI_shifted": 0.0, "BNN": 0.02})
    )
    shifts = study.metrics["training_shift_median"]
    assert shifts.keys() == {"MSE", "GNI"}
    known = np.isfinite(shifts["MSE"].shift)
    # Where the median falls in a bin of the ratio, 1.5 % wide with some 200 rows, is not seen.
    assert shifts["MSE"].shift[known] == pytest.approx(np.expm1(-0.02), abs=4 * 0.015 / 200**0.5)
    assert np.all(shifts["GNI"].shift[known] == 0.0)
    key = "shift of the median with the training spectrum"
    assert study.summary[f"{key}, GNI"] == "mean 0.00 %, largest 0.00 %"
    assert study.summary[f"{key}, MSE"].startswith(("mean 1.9", "mean 2.0"))
    assert f"{key}, BNN" not in study.summary
    assert "largest non-closure of the median in truth bins, BNN" in study.summary
    assert not any("_shifted" in name for name in study.summary)


def test_study_says_what_runs_away() -> None:
    histograms = filled({"GNI": 0.0, "Flow": 0.0})
    true = np.full(ROWS // 50, 10.0)
    fill_closure(histograms["closure"], method="Flow", true=true, calibrated=1e5 * true)
    summary = PriorIndependence.study(histograms).summary
    key = "calibrated beyond a factor 20 of the truth"
    assert summary[f"{key}, Flow"] == f"{100.0 / 51.0:.2f} %"
    assert f"{key}, GNI" not in summary


def test_study_separates_truth_and_reco_bins() -> None:
    study = PriorIndependence.study(filled({"GNI": 0.0}))
    inner = slice(3, 6)  # away from the ends of the sample
    largest = {
        binned_in: np.abs(shift.shift / shift.error)[inner].max()
        for binned_in in ("truth", "reco")
        for shift in [study.metrics[f"test_shift_{binned_in}_harder"]["GNI"]]
    }
    assert largest["truth"] < 5 < largest["reco"]
    assert study.metrics["closure_reco_harder"]["GNI"].binned_in == "reco"
    assert {"closure_mean", "closure_median", "closure_mode", "closure_truth_harder"} <= set(
        study.figures
    )


def test_options_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"spectra: unknown value 'flat'\. Known: exponential"):
        PriorIndependence(spectra=["flat"], A=tmp_path)
    with pytest.raises(ConfigError, match=r"methods \['A_shifted'\].*needed: a method"):
        PriorIndependence(A_shifted=tmp_path)
    with pytest.raises(ConfigError, match="the spectrum 'nominal' first"):
        PriorIndependence(spectra=["uniform"], A=tmp_path)
    with pytest.raises(ConfigError, match=r"methods \[\]"):
        PriorIndependence()
    with pytest.raises(ConfigError, match="device: unknown value 'gpu'"):
        PriorIndependence(A=tmp_path, device="gpu")
