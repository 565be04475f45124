"""The files behind a dataset's name: expanded, opened, counted and checked."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import TYPE_CHECKING

from hepcalib.exceptions import NtupleError
from hepcalib.pipeline.samples import LAYOUT_OF_KIND, sample_path

if TYPE_CHECKING:
    from hepcalib.config import Config, Loaded

__all__ = ["dataset_files", "dataset_layout"]


def dataset_layout(config: Config, name: str) -> str:
    """Return the name of the ntuple layout of a dataset."""
    dataset = config.datasets[name]
    if dataset.sample is not None:
        return LAYOUT_OF_KIND[config.samples[dataset.sample].kind]
    return dataset.layout or ""


def dataset_files(loaded: Loaded, name: str) -> list[Path]:
    """Return the files of a dataset, globs expanded, in sorted order.

    Raises:
        NtupleError: if a glob matches nothing or a file is named twice.
    """
    dataset = loaded.config.datasets[name]
    if dataset.sample is not None:
        return [sample_path(loaded.config, dataset.sample)]
    files: list[Path] = []
    for pattern in dataset.files:
        matches = sorted(glob.glob(pattern)) if glob.has_magic(pattern) else [pattern]  # noqa: PTH207 - absolute patterns
        if not matches:
            msg = f"dataset '{name}': no file matches {pattern}"
            raise NtupleError(msg)
        files += [Path(match) for match in matches]
    twice = sorted({str(file) for file in files if files.count(file) > 1})
    if twice:
        msg = f"dataset '{name}': counted twice: {', '.join(twice)}; name each file once"
        raise NtupleError(msg)
    return files
