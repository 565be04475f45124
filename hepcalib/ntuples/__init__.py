"""ROOT ntuples in and out: layouts, coffea schemas, standard clusters and jets, checks, writing."""

from __future__ import annotations

from hepcalib.ntuples.events import open_events
from hepcalib.ntuples.layout import Candidates, Column, Factor, Gen, Layout
from hepcalib.ntuples.parts import merge_parts, save_part
from hepcalib.ntuples.reading import objects, read, where
from hepcalib.ntuples.registry import LAYOUTS, SCHEMAS, find_layout, schema_of
from hepcalib.ntuples.scanning import FileSummary, scan, sum_of_weights
from hepcalib.ntuples.writing import write, write_histograms

__all__ = [
    "LAYOUTS",
    "SCHEMAS",
    "Candidates",
    "Column",
    "Factor",
    "FileSummary",
    "Gen",
    "Layout",
    "find_layout",
    "merge_parts",
    "objects",
    "open_events",
    "read",
    "save_part",
    "scan",
    "schema_of",
    "sum_of_weights",
    "where",
    "write",
    "write_histograms",
]
