"""Running processors over datasets: chunks, executors, and the ledger of every event."""

from __future__ import annotations

from hepcalib.run.chunks import Chunk
from hepcalib.run.dataset import Dataset, Unreadable, scan_dataset
from hepcalib.run.executors import EXECUTORS
from hepcalib.run.ledger import Account, CheckedFile, Counts, Ledger, Problem
from hepcalib.run.processing import Result, process

__all__ = [
    "EXECUTORS",
    "Account",
    "CheckedFile",
    "Chunk",
    "Counts",
    "Dataset",
    "Ledger",
    "Problem",
    "Result",
    "Unreadable",
    "process",
    "scan_dataset",
]
