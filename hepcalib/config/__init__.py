"""The configuration of an analysis: one YAML file, checked before anything else happens."""

from __future__ import annotations

from hepcalib.config.loading import Loaded, dump, load
from hepcalib.config.schema import (
    Analysis,
    BundleFile,
    Config,
    Dataset,
    Inputs,
    JetSample,
    ModelConfig,
    Penalty,
    PileUp,
    RunOptions,
    Sample,
    TopoClusterSample,
    Training,
)

__all__ = [
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
]
