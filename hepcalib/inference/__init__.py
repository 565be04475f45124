"""Predictions as columns, in blocks, with one model per process."""

from __future__ import annotations

from hepcalib.inference.blocks import block_limit, streamed
from hepcalib.inference.densities import Mixtures, mixtures
from hepcalib.inference.handles import Handle, loads, resident
from hepcalib.inference.precision import PRECISIONS, evaluation
from hepcalib.inference.prediction import RESPONSE_FIELDS, TAGGER_FIELDS, predict
from hepcalib.inference.sharing import Sharing
from hepcalib.inference.tagging import DecorrelatedTagger, Tagger, tag, tag_each
from hepcalib.inference.wrapper import RaggedWrapper
from hepcalib.training.devices import set_threads

__all__ = [
    "PRECISIONS",
    "RESPONSE_FIELDS",
    "TAGGER_FIELDS",
    "DecorrelatedTagger",
    "Handle",
    "Mixtures",
    "RaggedWrapper",
    "Sharing",
    "Tagger",
    "block_limit",
    "evaluation",
    "loads",
    "mixtures",
    "predict",
    "resident",
    "set_threads",
    "streamed",
    "tag",
    "tag_each",
]
