"""One training loop for all models: options, examples, history."""

from __future__ import annotations

from hepcalib.training.checkpoint import Checkpoint
from hepcalib.training.examples import Examples
from hepcalib.training.history import Epoch, History
from hepcalib.training.loop import train
from hepcalib.training.options import TrainingOptions
from hepcalib.training.penalties import PenaltyOptions

__all__ = [
    "Checkpoint",
    "Epoch",
    "Examples",
    "History",
    "PenaltyOptions",
    "TrainingOptions",
    "train",
]
