"""coffea processors of hepcalib: thin, importable, picklable."""

from __future__ import annotations

from processors.cluster_calibration import ClusterCalibration
from processors.cluster_study import ClusterStudy
from processors.decorrelation_comparison import DecorrelationComparison
from processors.jet_calibration import JetCalibration
from processors.jet_tagging import JetTagging
from processors.prior_independence import PriorIndependence
from processors.published_calibration import PublishedCalibration
from processors.tagger_comparison import TaggerComparison
from processors.uncertain_tagging import UncertainTagging

__all__ = [
    "ClusterCalibration",
    "ClusterStudy",
    "DecorrelationComparison",
    "JetCalibration",
    "JetTagging",
    "PriorIndependence",
    "PublishedCalibration",
    "TaggerComparison",
    "UncertainTagging",
]
