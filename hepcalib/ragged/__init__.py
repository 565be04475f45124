"""Rows of different length as tensors, without padding; the only place that knows their layout."""

from __future__ import annotations

from hepcalib.ragged.buckets import Bucket
from hepcalib.ragged.columns import from_awkward, to_awkward
from hepcalib.ragged.rows import Ragged

__all__ = ["Bucket", "Ragged", "from_awkward", "to_awkward"]
