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
        "TARGETS",
        "Dijets",
        "NumericalInversion",
        "Uncertainty",
        "calibrated",
        "correlated_dijets",
        "decompose",
        "log10_response",
        "mean",
        "median",
        "mode",
        "pooled",
        "quantile",
        "quantiles",
        "response_deviation",
        "response_mean",
        "response_mode",
        "sigma_response",
        "snapped_dijets",
        "target",
        "to_response",
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
        "Residual",
        "RunOptions",
        "Sample",
        "Scan",
        "TopoClusterSample",
        "Training",
        "dump",
        "load",
        "scan_models",
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
    "hepcalib.export": [
        "AthenaOutputs",
        "AthenaResponse",
        "AthenaTransform",
        "athena_outputs",
        "athena_response",
        "athena_transforms",
        "correction_json",
        "inversion_json",
        "write_corrections",
        "write_onnx",
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
        "FEATURES",
        "FLAVOURS",
        "KINDS",
        "LABELS",
        "VARIABLES",
        "Variable",
        "closure",
        "coverage",
        "density",
        "feature_axis",
        "feature_input",
        "feature_response",
        "feature_uncertainty",
        "fill_closure",
        "fill_coverage",
        "fill_density",
        "fill_feature_input",
        "fill_feature_response",
        "fill_feature_uncertainty",
        "fill_measured_response",
        "fill_pit",
        "fill_predicted_density",
        "fill_pull",
        "fill_response",
        "fill_sampled_spectrum",
        "fill_score",
        "fill_spectrum",
        "fill_uncertainty",
        "fill_uncertainty_pair",
        "fill_uncertainty_rapidity",
        "flavour_bins",
        "from_json",
        "interval_probabilities",
        "measured_response",
        "pit",
        "projections",
        "pull",
        "response",
        "sampled_spectra",
        "score",
        "spectrum",
        "to_json",
        "uncertainty",
        "uncertainty_pair",
        "uncertainty_rapidity",
    ],
    "hepcalib.inference": [
        "RESPONSE_FIELDS",
        "TAGGER_FIELDS",
        "Handle",
        "Mixtures",
        "loads",
        "mixtures",
        "predict",
        "resident",
        "set_threads",
    ],
    "hepcalib.losses": [
        "PENALTIES",
        "Point",
        "distance_correlation",
        "gaussian_kl",
        "leaky_gaussian_kernel",
        "moment_decomposition",
        "nll",
        "pinball",
    ],
    "hepcalib.metrics": [
        "SPECTRA",
        "Agreement",
        "Closure",
        "Counts",
        "Coverage",
        "CoverageProfile",
        "Decorrelation",
        "DensityBin",
        "EfficiencyProfile",
        "FeatureSplit",
        "InputDistribution",
        "Jsd",
        "Linearity",
        "MassSplit",
        "Pit",
        "Plateau",
        "PowerLaw",
        "Profile",
        "Pull",
        "Quantiles",
        "Region",
        "Rejection",
        "Resolution",
        "Roc",
        "Scan",
        "ScoreDistribution",
        "Shift",
        "Spectrum",
        "UncertaintySpectrum",
        "agreement",
        "closure",
        "closures",
        "coverage",
        "coverage_profile",
        "decorrelation",
        "densities",
        "efficiency_profile",
        "feature_splits",
        "input_distribution",
        "jsd",
        "jsd_limit",
        "large_uncertainty_region",
        "linearity",
        "mass_split",
        "paired_shift",
        "pits",
        "plateau",
        "power_law",
        "profile",
        "pulls",
        "quantiles",
        "rank_correlation",
        "rejection",
        "rejection_at",
        "resolution",
        "roc",
        "roc_curve",
        "scan",
        "score_distribution",
        "shift",
        "spectra",
        "spectrum_factors",
        "spectrum_weights",
        "uncertainty_spectrum",
    ],
    "hepcalib.models": [
        "MLP",
        "PFN",
        "Bayesian",
        "BernoulliHead",
        "Conformal",
        "DeepEnsemble",
        "Dropout",
        "Evidential",
        "EvidentialHead",
        "FlowLikelihood",
        "GaussianAnsatz",
        "GeneralisedInversion",
        "Head",
        "InversionHead",
        "Labelled",
        "Laplace",
        "LogNormalHead",
        "LogNormalMixtureHead",
        "MixtureHead",
        "Model",
        "NormalHead",
        "PointHead",
        "RepulsiveEnsemble",
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
        "agreement_figure",
        "closure_figure",
        "coverage_figure",
        "decorrelation_figure",
        "density_figure",
        "efficiency_figure",
        "feature_input_figure",
        "feature_split_figure",
        "history_figure",
        "linearity_figure",
        "mass_sculpting_figure",
        "pit_figure",
        "profile_figure",
        "profiles_figure",
        "pull_comparison_figure",
        "pull_figure",
        "resolution_figure",
        "roc_figure",
        "save",
        "scan_figure",
        "score_figure",
        "spectrum_figure",
        "style",
        "uncertainty_comparison_figure",
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
    "hepcalib.samples.gaussian": [
        "AuxiliaryProblem",
        "GaussianProblem",
        "Sample",
        "exponential_bias",
        "flat_posterior_mean",
        "lognormal_closures",
        "proportional_closure",
        "simulate_auxiliary",
        "simulate_exponential",
        "simulate_gaussian",
        "softplus_response",
        "softplus_slope",
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
        "ClusterStudy",
        "JetCalibration",
        "JetTagging",
        "PriorIndependence",
        "PublishedCalibration",
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
