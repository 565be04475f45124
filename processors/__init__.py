"""coffea processors of hepcalib: thin, importable, picklable."""

from __future__ import annotations

from hepcalib.processors.cluster_calibration import ClusterCalibration
from hepcalib.processors.cluster_study import ClusterStudy
from hepcalib.processors.decorrelation_comparison import DecorrelationComparison
from hepcalib.processors.jet_calibration import JetCalibration
from hepcalib.processors.jet_tagging import JetTagging
from hepcalib.processors.prior_independence import PriorIndependence
from hepcalib.processors.published_calibration import PublishedCalibration
from hepcalib.processors.tagger_comparison import TaggerComparison
from hepcalib.processors.uncertain_tagging import UncertainTagging

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
