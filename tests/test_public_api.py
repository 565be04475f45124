"""The public API, name by name: a difference here is a change for users."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from pathlib import Path

import pytest

API: dict[str, list[str]] = {
    "hepcalib": [
        "__version__",
    ],
    "hepcalib.batch": [
        "Batch",
    ],
    "hepcalib.bundles": [
        "Bundle",
        "BundleSpec",
        "load",
        "save",
        "sha256_of",
    ],
    "hepcalib.calibration": [
        "LOCATIONS",
        "Uncertainty",
        "calibrated",
        "decompose",
        "log10_response",
        "mean",
        "median",
        "mode",
        "pooled",
        "quantile",
        "sigma_response",
    ],
    "hepcalib.config": [
        "Analysis",
        "BundleFile",
        "Config",
        "Dataset",
        "Inputs",
        "JetSample",
        "Loaded",
        "ModelConfig",
        "Penalty",
        "PileUp",
        "RunOptions",
        "Sample",
        "TopoClusterSample",
        "Training",
        "dump",
        "load",
    ],
    "hepcalib.exceptions": [
        "BundleError",
        "ConfigError",
        "DataError",
        "HepcalibError",
        "NtupleError",
        "RunError",
        "ShapeError",
        "TrainingError",
        "suggestion",
    ],
    "hepcalib.features": [
        "CATALOGUE",
        "Chain",
        "Clip",
        "Feature",
        "Identity",
        "Inputs",
        "Log10",
        "SignedCbrt",
        "Standardise",
    ],
    "hepcalib.hists": [
        "KINDS",
        "LABELS",
        "VARIABLES",
        "Variable",
        "fill_pull",
        "fill_response",
        "fill_score",
        "fill_spectrum",
        "fill_uncertainty",
        "fill_uncertainty_rapidity",
        "from_json",
        "projections",
        "pull",
        "response",
        "score",
        "spectrum",
        "to_json",
        "uncertainty",
        "uncertainty_rapidity",
    ],
    "hepcalib.inference": [
        "RESPONSE_FIELDS",
        "TAGGER_FIELDS",
        "Handle",
        "loads",
        "predict",
        "set_threads",
    ],
    "hepcalib.losses": [
        "PENALTIES",
        "distance_correlation",
        "gaussian_kl",
        "moment_decomposition",
        "nll",
    ],
    "hepcalib.metrics": [
        "Counts",
        "Coverage",
        "Decorrelation",
        "EfficiencyProfile",
        "Jsd",
        "Linearity",
        "MassSplit",
        "Pull",
        "Quantiles",
        "Rejection",
        "Resolution",
        "Roc",
        "ScoreDistribution",
        "Spectrum",
        "UncertaintySpectrum",
        "coverage",
        "decorrelation",
        "efficiency_profile",
        "jsd",
        "jsd_limit",
        "linearity",
        "mass_split",
        "pulls",
        "quantiles",
        "rejection",
        "rejection_at",
        "resolution",
        "roc",
        "roc_curve",
        "score_distribution",
        "spectra",
        "uncertainty_spectrum",
    ],
    "hepcalib.models": [
        "MLP",
        "PFN",
        "Bayesian",
        "BernoulliHead",
        "Head",
        "MixtureHead",
        "Model",
        "NormalHead",
        "build",
        "describe",
    ],
    "hepcalib.ntuples": [
        "LAYOUTS",
        "SCHEMAS",
        "Candidates",
        "Column",
        "Factor",
        "FileSummary",
        "Gen",
        "Layout",
        "find_layout",
        "merge_parts",
        "objects",
        "open_events",
        "read",
        "save_part",
        "scan",
        "schema_of",
        "sum_of_weights",
        "where",
        "write",
        "write_histograms",
    ],
    "hepcalib.plots": [
        "decorrelation_figure",
        "efficiency_figure",
        "history_figure",
        "linearity_figure",
        "mass_sculpting_figure",
        "pull_figure",
        "resolution_figure",
        "roc_figure",
        "save",
        "score_figure",
        "spectrum_figure",
        "style",
        "uncertainty_figure",
        "uncertainty_rapidity_figure",
    ],
    "hepcalib.ragged": [
        "Ragged",
        "from_awkward",
        "to_awkward",
    ],
    "hepcalib.run": [
        "EXECUTORS",
        "Account",
        "Chunk",
        "Counts",
        "Dataset",
        "Ledger",
        "Problem",
        "Result",
        "Unreadable",
        "process",
        "scan_dataset",
    ],
    "hepcalib.samples": [
        "cluster_response",
        "response_density",
        "topoclusters",
    ],
    "hepcalib.samples.cluster_response": [
        "MIN_RESPONSE",
        "MIN_TRUE_ENERGY",
        "STANDARD_NAMES",
        "density",
        "local_weights",
        "slice_weight",
        "typical_log_significance",
    ],
    "hepcalib.samples.jets": [
        "Calorimeter",
        "Detector",
        "simulate",
    ],
    "hepcalib.samples.response_density": [
        "ResponseDensity",
        "cdf",
        "log_mode",
        "mean",
        "median",
        "mode",
        "moment",
        "nll",
        "probability",
        "quantile",
        "shifted",
        "sigma_log10",
        "standard_deviation",
    ],
    "hepcalib.samples.topoclusters": [
        "CLUSTERS_PER_EVENT",
        "passes_cuts",
        "simulate",
    ],
    "hepcalib.study": [
        "Studied",
        "Study",
        "plain",
    ],
    "hepcalib.training": [
        "Epoch",
        "Examples",
        "History",
        "TrainingOptions",
        "train",
    ],
    "processors": [
        "ClusterCalibration",
        "JetCalibration",
        "JetTagging",
    ],
}
ROOT = Path(__file__).parents[1]
FOLDERS = [room for room in API if (ROOT / room.replace(".", "/")).is_dir() and room != "hepcalib"]


@pytest.mark.parametrize("room", API)
def test_exports_are_these(room: str) -> None:
    module = importlib.import_module(room)
    assert list(module.__all__) == API[room]


@pytest.mark.parametrize("room", API)
def test_exports_are_sorted_and_exist(room: str) -> None:
    module = importlib.import_module(room)
    names = list(module.__all__)
    # Constants, then classes, then functions, as ruff sorts them.
    assert names == sorted(names, key=lambda name: (rank(name), name))
    assert set(names) <= set(dir(module))


def rank(name: str) -> int:
    if name.isupper():
        return 0
    return 1 if name[0].isupper() else 2


@pytest.mark.parametrize("room", FOLDERS)
def test_folder_shows_its_exports_and_modules_only(room: str) -> None:
    module = importlib.import_module(room)
    shown = {name for name in dir(module) if not name.startswith("_")} - {"annotations"}
    exports = {name for name in API[room] if not inspect.ismodule(getattr(module, name))}
    assert {name for name in shown if not inspect.ismodule(getattr(module, name))} == exports


@pytest.mark.parametrize("room", API)
def test_exports_say_what_they_are(room: str) -> None:
    module = importlib.import_module(room)
    assert module.__doc__
    for name in API[room]:
        value = getattr(module, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert value.__doc__, name


def test_reference_covers_the_api() -> None:
    spec = importlib.util.spec_from_file_location("make_api", ROOT / "docs" / "make_api.py")
    assert spec is not None
    assert spec.loader is not None
    make_api = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_api)
    assert set(make_api.ROOMS) == set(API)


def test_every_room_is_public_or_inside() -> None:
    inside = {"hepcalib.cli", "hepcalib.pipeline", "hepcalib.__main__"}
    package = ROOT / "hepcalib"
    rooms = {p.stem for p in package.glob("*.py")} | {p.parent.name for p in package.glob("*/*.py")}
    assert {f"hepcalib.{room}" for room in rooms - {"__init__"}} - inside <= set(API)
