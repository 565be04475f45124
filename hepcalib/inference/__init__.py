"""Predictions as columns, in blocks, with one model per process."""

from __future__ import annotations

from hepcalib.inference.densities import Mixtures, mixtures
from hepcalib.inference.handles import Handle, loads, resident
from hepcalib.inference.prediction import RESPONSE_FIELDS, TAGGER_FIELDS, predict
from hepcalib.training.devices import set_threads

__all__ = [
    "RESPONSE_FIELDS",
    "TAGGER_FIELDS",
    "Handle",
    "Mixtures",
    "loads",
    "mixtures",
    "predict",
    "resident",
    "set_threads",
]
