"""A first look at a file, before anything expensive: is it whole, complete, and how large."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from hepcalib.exceptions import NtupleError
from hepcalib.ntuples.csv_files import csv_size
from hepcalib.ntuples.files import (
    check_branches,
    check_bytes,
    open_tree,
    sha256_of,
    tree_weights,
)
from hepcalib.ntuples.registry import find_layout

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from hepcalib.ntuples.layout import Layout

__all__ = ["FileSummary", "scan", "sum_of_weights"]


class FileSummary(NamedTuple):
    """What a scan found: the identity of a file and what it should yield.

    `sha256` is None unless a checksum was asked for, `checked` says whether it was compared with a
    declared one; `size` in bytes is 0 for a remote file.
    """

    path: str
    tree: str
    entries: int
    sum_of_weights: float
    uuid: str
    sha256: str | None = None
    size: int = 0
    checked: bool = False


def scan(
    path: str | Path,
    layout: str | Layout,
    *,
    needs: Iterable[str] | None = None,
    checksum: bool = False,
    sha256: str | None = None,
) -> FileSummary:
    """Check a file and count its entries and the sum of its weights, reading one branch at most.

    Args:
        path: The file.
        layout: Its layout, or the name of it.
        needs: Standard columns that must be there; None is what the layout requires.
        checksum: Whether to compute the sha256 of the file.
        sha256: The sha256 that the file must have.

    Returns:
        The summary of the file.

    Raises:
        NtupleError: if the file is missing, empty, truncated, not ROOT, lacks the tree or needed
            branches, has another sha256 or weights that are not finite.
        ConfigError: if there is no such layout, or it has no such column.
    """
    found = find_layout(layout)
    needed = found.required() | (set() if needs is None else found.required(needs))
    size = csv_size(path) if found.format == "csv" else check_bytes(path)
    digest = sha256_of(path) if checksum or sha256 is not None else None
    if sha256 is not None and digest != sha256.lower():
        msg = f"{path}: sha256 is {digest}, expected {sha256}: the file is damaged or another one"
        raise NtupleError(msg)
    with open_tree(path, found) as (file, tree):
        check_branches(path, tree, needed)
        return FileSummary(
            path=str(path),
            tree=found.tree,
            entries=int(tree.num_entries),
            sum_of_weights=tree_weights(path, tree, found),
            uuid=str(file.file.uuid),
            sha256=digest,
            size=size,
            checked=sha256 is not None,
        )


def sum_of_weights(path: str | Path, layout: str | Layout, *, start: int, stop: int) -> float:
    """Return the float64 sum of the event weights of entries [start, stop) of a file.

    Raises:
        NtupleError: if they cannot be read.
    """
    found = find_layout(layout)
    with open_tree(path, found) as (_, tree):
        return tree_weights(path, tree, found, start=start, stop=stop)
