"""The files behind a dataset's name: expanded, opened, counted and checked."""

from __future__ import annotations

import glob
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from hepcalib.exceptions import NtupleError
from hepcalib.ntuples.patterns import matching
from hepcalib.ntuples.sources import is_remote
from hepcalib.pipeline.samples import LAYOUT_OF_KIND, sample_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hepcalib.config import Config, Loaded

__all__ = ["dataset_files", "dataset_layout"]


def dataset_layout(config: Config, name: str) -> str:
    """Return the name of the ntuple layout of a dataset."""
    dataset = config.datasets[name]
    if dataset.sample is not None:
        return LAYOUT_OF_KIND[config.samples[dataset.sample].kind]
    return dataset.layout or ""


def dataset_files(loaded: Loaded, name: str) -> list[Path | str]:
    """Return the files of a dataset, patterns expanded, in sorted order; URLs as they were given.

    Raises:
        NtupleError: if a pattern matches nothing or is a URL, or a file is named twice.
    """
    dataset = loaded.config.datasets[name]
    if dataset.sample is not None:
        return [sample_path(loaded.config, dataset.sample)]
    files = [file for pattern in dataset.files for file in _expanded(name, pattern)]
    real = [str(file) if is_remote(file) else os.path.realpath(file) for file in files]
    counts = Counter(real)
    twice = sorted({str(f) for f, r in zip(files, real, strict=True) if counts[r] > 1})
    if twice:
        msg = f"dataset '{name}': counted twice: {', '.join(twice)}; name each file once"
        raise NtupleError(msg)
    return files


def _expanded(name: str, pattern: str) -> Sequence[Path | str]:
    if is_remote(pattern):
        if "*" in pattern:
            msg = f"dataset '{name}': {pattern}: a URL cannot be a pattern; name each file"
            raise NtupleError(msg)
        return [pattern]
    if not glob.has_magic(pattern):
        return [Path(pattern)]
    try:
        matches = matching(pattern)
    except NtupleError as error:
        msg = f"dataset '{name}': {pattern}: {error}"
        raise NtupleError(msg) from error
    if not matches:
        msg = f"dataset '{name}': no file matches {pattern}"
        raise NtupleError(msg)
    return matches
