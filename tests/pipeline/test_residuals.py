"""Residual corrections: what an untrained, so a biased, model leaves is undone in truth bins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import correctionlib
import numpy as np
import pytest
from rich.console import Console

from hepcalib import metrics, run
from hepcalib.calibration.numerical_inversion import NumericalInversion
from hepcalib.exceptions import ConfigError, DataError, RunError
from hepcalib.pipeline.residuals import (
    ensure_residual,
    is_fitted,
    residual_path,
    residual_provenance,
)
from hepcalib.pipeline.stages import show_plan
from hepcalib.processors import JetCalibration

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hepcalib.config import Loaded

    Load = Callable[..., Loaded]
    Write = Callable[..., Path]

WIDTH = 0.12  # of ln R
ETA = (-2.0, -1.0, 0.0, 1.0, 2.0)


class Jets(NamedTuple):
    """Jets of known response, one per event."""

    true: np.ndarray[Any, np.dtype[np.float64]]
    pt: np.ndarray[Any, np.dtype[np.float64]]
    eta: np.ndarray[Any, np.dtype[np.float64]]

    def branches(self) -> dict[str, Any]:
        """The branches of the flat layout that differ from those of `jet_file`."""
        named = {"GenJet_pt": self.true, "Jet_pt": self.pt, "Jet_eta": self.eta}
        return {branch: values[:, None].astype(np.float32) for branch, values in named.items()}


def simulated(jets: int, *, seed: int) -> Jets:
    """Log-normal responses whose median rises with pt and falls in the forward region."""
    random = np.random.default_rng(seed)
    true = np.exp(random.uniform(np.log(100.0), np.log(1000.0), jets))
    eta = random.uniform(-2.0, 2.0, jets)
    median = 0.75 + 0.1 * np.log10(true / 100.0) - 0.1 * (np.abs(eta) > 1.0)
    return Jets(true, true * median * np.exp(random.normal(0.0, WIDTH, jets)), eta)


@pytest.fixture
def write(jet_file: Write, tmp_path: Path) -> Callable[..., Path]:
    def write(name: str, jets: Jets, **branches: Any) -> Path:
        ones = [1] * len(jets.true)
        return jet_file(tmp_path / name, counts=ones, sizes=ones, **{**jets.branches(), **branches})

    return write


@pytest.fixture
def residual(loaded: Load, bundle: Write, tmp_path: Path) -> Load:
    """Load a residual correction of an untrained model, fitted to the file `fit.root`."""
    path = str(bundle(tmp_path / "untrained", model="jet_response"))

    def load(**changes: Any) -> Loaded:
        fields = {"model": "response", "datasets": ["fit"], "variables": {"eta": list(ETA)}}
        given = {"files": [str(tmp_path / "fit.root")], "layout": "flat_jets"}
        return loaded(
            models={"response": {"bundle": path}},
            datasets={"fit": given},
            residuals={"mine": {**fields, **changes}},
        )

    return load


@pytest.fixture
def study(loaded: Load, bundle: Write, jet_file: Write, tmp_path: Path) -> Load:
    """Load a study with a residual correction, some of whose keys are changed."""
    kinds = {"response": "jet_response", "second": "jet_response", "tagger": "tagger"}
    models = {
        name: {"bundle": str(bundle(tmp_path / name, model=kind))} for name, kind in kinds.items()
    }
    files = [str(jet_file(tmp_path / "a.root"))]

    def load(calibration: str = "response", used: str = "mine", **changes: Any) -> Loaded:
        fields = {"model": "response", "datasets": ["fit"], "true_bins": 2, "minimum_entries": 1}
        analysis = {
            "processor": "processors:JetCalibration",
            "datasets": ["fit"],
            "models": {"calibration": calibration, "residual": used},
        }
        return loaded(
            models=models,
            datasets={"fit": {"files": files, "layout": "flat_jets"}},
            residuals={"mine": {**fields, **changes}},
            analyses={"study": analysis},
        )

    return load


def test_the_median_closes_in_truth_bins_with_the_residual_only(
    residual: Load, write: Callable[..., Path], tmp_path: Path
) -> None:
    jets, bins = 12_000, 8
    write("fit.root", simulated(jets, seed=1))
    file = ensure_residual(residual(true_bins=bins), "mine")
    dataset = run.scan_dataset("given", [write("test.root", simulated(jets, seed=2))], "flat_jets")
    processor = JetCalibration(calibration=tmp_path / "untrained", residual=file, weights="none")
    output = run.process(processor, [dataset]).output
    found = metrics.linearity(output["response_true_pt"])
    # Between the nodes; the lowest and the highest are in the middle of the fit's outer bins.
    edges = found["Residual"].edges
    inside = (edges[:-1] >= 118.0) & (edges[1:] <= 860.0)
    assert inside.sum() >= 6
    # The median of n log-normal responses has the error sqrt(pi / 2) width / sqrt(n), here and in
    # each cell of the fit, of which a bin sees at least those of its 4 bins of eta.
    here = found["Residual"].median_error[inside]
    cells = np.sqrt(np.pi / 2) * WIDTH / np.sqrt(jets / bins)
    off = {scale: np.abs(result.linearity[inside]) for scale, result in found.items()}
    error = np.hypot(here, cells)
    assert np.max(off["Residual"] / error) < 4.0
    assert np.min(off["Calibrated"] / error) > 10.0


def test_correctionlib_gives_what_the_inversion_gives(
    residual: Load, write: Callable[..., Path]
) -> None:
    write("fit.root", simulated(4000, seed=3))
    file = ensure_residual(residual(true_bins=6), "mine")
    provenance = residual_provenance(file)
    inversion = NumericalInversion.from_state(provenance["inversion"])
    correction = correctionlib.CorrectionSet.from_file(str(file))["mine"]
    assert [variable.name for variable in correction.inputs] == ["pt_calibrated", "eta"]
    pt, eta = np.meshgrid(np.geomspace(130.0, 600.0, 50), [-1.5, -0.5, 0.5, 1.5])
    expected = inversion.factor(pt.ravel(), eta=eta.ravel())
    np.testing.assert_allclose(correction.evaluate(pt.ravel(), eta.ravel()), expected, rtol=1e-4)
    assert np.ptp(expected) > 0.05
    assert provenance["objects"] == 4000
    assert provenance["residual"]["location"] == "median"


@pytest.mark.parametrize(
    "content", [b"", b"\xff", b"[1]", b"{}", b'{"description": "[1]"}', b'{"description": "{"}']
)
def test_a_file_without_provenance_is_refused(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "residual.json"
    file.write_bytes(content)
    with pytest.raises(RunError, match=r"residual\.json: .*needed: a residual correction"):
        residual_provenance(file)


def test_unmatched_and_not_positive_jets_are_left_out(
    residual: Load, write: Callable[..., Path]
) -> None:
    jets = simulated(1000, seed=4)
    link = np.where(np.arange(1000) < 100, -1, 0)[:, None]
    spoilt = jets._replace(true=np.where(np.arange(1000) < 150, 0.0, jets.true))
    write("fit.root", spoilt, Jet_genJetIdx=link)
    file = ensure_residual(residual(true_bins=3, variables={}), "mine")
    assert residual_provenance(file)["objects"] == 850


def test_the_file_is_named_by_content_and_made_once(
    residual: Load, write: Callable[..., Path]
) -> None:
    write("fit.root", simulated(1000, seed=5))
    config = residual(true_bins=3)
    assert not is_fitted(config, "mine")
    file = ensure_residual(config, "mine")
    assert is_fitted(config, "mine")
    made = file.stat().st_mtime_ns
    assert ensure_residual(config, "mine") == file == residual_path(config, "mine")
    assert file.stat().st_mtime_ns == made
    assert residual_path(residual(true_bins=4), "mine") != file
    write("fit.root", simulated(1000, seed=6))
    assert not is_fitted(config, "mine")


def test_a_response_that_does_not_rise_names_the_bin(
    residual: Load, write: Callable[..., Path]
) -> None:
    jets = simulated(2000, seed=7)
    flat = jets._replace(pt=np.where(jets.eta > 1.0, 300.0, jets.pt))
    write("fit.root", flat)
    message = (
        r"residual 'mine' of model 'response' on fit: numerical inversion: the median of measured "
        r"goes from .* between true = .* in bin eta \[1, 2\); it must rise"
    )
    with pytest.raises(DataError, match=message):
        ensure_residual(residual(true_bins=[100, 200, 400, 600, 800, 1000]), "mine")


def test_too_few_jets_in_a_bin_name_it(residual: Load, write: Callable[..., Path]) -> None:
    write("fit.root", simulated(500, seed=8))
    with pytest.raises(DataError, match=r"0 rows in bin eta \[-2, -1\), true \[1000, 1100\)"):
        ensure_residual(residual(true_bins=[100, 1000, 1100, 1200], minimum_entries=1), "mine")


def test_clusters_have_residuals_too(
    loaded: Load, bundle: Write, cluster_file: Write, tmp_path: Path
) -> None:
    path = cluster_file(tmp_path / "a.root", clusters=3000)
    config = loaded(
        models={"response": {"bundle": str(bundle(tmp_path / "b", model="cluster_response"))}},
        datasets={"fit": {"files": [str(path)], "layout": "cluster_tree"}},
        residuals={"mine": {"model": "response", "datasets": ["fit"], "true_bins": 5}},
    )
    correction = correctionlib.CorrectionSet.from_file(str(ensure_residual(config, "mine")))["mine"]
    assert [variable.name for variable in correction.inputs] == ["energy_calibrated"]


def test_a_model_must_be_trained_first(loaded: Load, jet_file: Write, tmp_path: Path) -> None:
    model = {
        "kind": "response",
        "object": "jet",
        "datasets": ["fit"],
        "inputs": {"features": ["jet.eta"]},
        "network": {"name": "MLP", "head": {"name": "NormalHead"}},
    }
    files = [str(jet_file(tmp_path / "a.root"))]
    config = loaded(
        models={"response": model},
        datasets={"fit": {"files": files, "layout": "flat_jets"}},
        residuals={"mine": {"model": "response", "datasets": ["fit"]}},
    )
    assert not is_fitted(config, "mine")
    with pytest.raises(RunError, match="'mine': no up-to-date bundle of its model 'response'"):
        ensure_residual(config, "mine")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "respons"}, r"residuals.mine.model: nothing is named 'respons'\. Known: resp"),
        ({"datasets": ["fitt"]}, r"residuals.mine.datasets.0: nothing is named 'fitt'"),
        ({"model": "tagger"}, "residuals.mine.model: 'tagger' is a tagger model; a residual needs"),
        ({"variables": {"etta": [0, 1]}}, r"variables.etta: layout 'flat_jets' has no column 'ett"),
        ({"variables": {"gen_pt": [0, 1]}}, "variables.gen_pt: layout 'flat_jets' has no column"),
        ({"variables": {"eta": [1, 0]}}, r"variables.eta: bin edges \[1.0, 0.0\]; needed: at lea"),
        ({"true_bins": [100, 100]}, r"true_bins: bin edges \[100.0, 100.0\]; needed: at least"),
        (
            {"location": "mod"},
            "mine.location: Input should be 'mean', 'median' or 'mode'",
        ),
        ({"bins": 3}, "residuals.mine.bins: unknown key 'bins'"),
        ({"used": "other"}, r"analyses.study.models.residual: nothing is named 'other'"),
        ({"calibration": "second"}, "'mine' corrects 'response', which is not applied"),
    ],
)
def test_what_cannot_be_meant_is_refused(study: Load, change: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        show_plan(study(**change), console=Console())


def test_the_plan_has_the_residual(study: Load) -> None:
    """The control of the test above."""
    console = Console(width=150)
    config = study()
    with console.capture() as text:
        show_plan(config, console=console)
    assert "to do: residual of response" in text.get()
    ensure_residual(config, "mine")
    with console.capture() as text:
        show_plan(config, console=console)
    assert "up to date: residual of response" in text.get()
