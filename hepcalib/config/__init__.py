"""The configuration of an analysis: one YAML file, checked before anything else happens."""

from __future__ import annotations

from hepcalib.config.decorrelation import Decorrelator, Penalty, Planing
from hepcalib.config.loading import Loaded, dump, load
from hepcalib.config.scans import scan_models
from hepcalib.config.schema import (
    Analysis,
    BundleFile,
    Config,
    Dataset,
    Inputs,
    JetSample,
    ModelConfig,
    PileUp,
    Residual,
    RunOptions,
    Sample,
    Scan,
    TopoClusterSample,
    Training,
)

__all__ = [
    "Analysis",
    "BundleFile",
    "Config",
    "Dataset",
    "Decorrelator",
    "Inputs",
    "JetSample",
    "Loaded",
    "ModelConfig",
    "Penalty",
    "PileUp",
    "Planing",
    "Residual",
    "RunOptions",
    "Sample",
    "Scan",
    "TopoClusterSample",
    "Training",
    "dump",
    "load",
    "scan_models",
]
