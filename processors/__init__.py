"""coffea processors of hepcalib: thin, importable, picklable."""

from __future__ import annotations

from processors.cluster_calibration import ClusterCalibration
from processors.cluster_study import ClusterStudy
from processors.jet_calibration import JetCalibration
from processors.jet_tagging import JetTagging
from processors.prior_independence import PriorIndependence
from processors.published_calibration import PublishedCalibration

__all__ = [
    "ClusterCalibration",
    "ClusterStudy",
    "JetCalibration",
    "JetTagging",
    "PriorIndependence",
    "PublishedCalibration",
]
