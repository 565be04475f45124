"""coffea processors of hepcalib: thin, importable, picklable."""

from __future__ import annotations

from processors.cluster_calibration import ClusterCalibration
from processors.jet_calibration import JetCalibration
from processors.jet_tagging import JetTagging

__all__ = ["ClusterCalibration", "JetCalibration", "JetTagging"]
