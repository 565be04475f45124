"""Calibrations for other programs: ONNX for the Athena tool, correctionlib JSON."""

from __future__ import annotations

from hepcalib.export.athena import AthenaOutputs, athena_outputs, write_onnx
from hepcalib.export.corrections import correction_json, write_corrections
from hepcalib.export.decorrelators import decorrelator_json
from hepcalib.export.host import AthenaResponse, athena_response
from hepcalib.export.inputs import AthenaTransform, athena_transforms
from hepcalib.export.inversion import inversion_json

__all__ = [
    "AthenaOutputs",
    "AthenaResponse",
    "AthenaTransform",
    "athena_outputs",
    "athena_response",
    "athena_transforms",
    "correction_json",
    "decorrelator_json",
    "inversion_json",
    "write_corrections",
    "write_onnx",
]
