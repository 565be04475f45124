"""Named inputs of models: columns -> features -> transformed tensors, with validity ranges."""

from __future__ import annotations

from hepcalib.features.catalogue import CATALOGUE
from hepcalib.features.feature import Feature
from hepcalib.features.inputs import Inputs
from hepcalib.features.transforms import Chain, Clip, Identity, Log10, SignedCbrt, Standardise

__all__ = [
    "CATALOGUE",
    "Chain",
    "Clip",
    "Feature",
    "Identity",
    "Inputs",
    "Log10",
    "SignedCbrt",
    "Standardise",
]
