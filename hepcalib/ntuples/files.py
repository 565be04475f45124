"""Opening an ntuple file, or saying at once what is wrong with it."""

from __future__ import annotations

import difflib
import hashlib
import math
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import uproot

from hepcalib.casting import is_number
from hepcalib.exceptions import NtupleError
from hepcalib.ntuples.csv_files import open_csv
from hepcalib.ntuples.sources import first_line, is_remote, stream, unreadable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from hepcalib.ntuples.layout import Layout

__all__ = [
    "check_branches",
    "check_bytes",
    "open_tree",
    "sha256_of",
    "total_weight",
    "tree_weights",
]

_BLOCK = 2**22  # bytes of a file that are read together for its checksum
_NAMED = 4  # missing branches in a message
_LONG_HEADER = 1_000_000  # files of this format version and above hold 8-byte positions


@contextmanager
def open_tree(path: str | Path, layout: Layout) -> Iterator[tuple[Any, Any]]:
    """Open a file and yield it (uproot's directory) with its tree; close it afterwards.

    A CSV file is yielded as a directory in memory.

    Raises:
        NtupleError: if the file is missing, empty, truncated or not ROOT, or has no such tree, or
            holds in CSV what is no number.
    """
    if layout.format == "csv":
        with open_csv(path, layout) as found:
            yield found
        return
    check_bytes(path)
    with _opened(path) as file:
        yield file, _tree(path, file, layout.tree)


def _tree(path: str | Path, file: Any, tree: str) -> Any:
    """Return the tree of an open file."""
    try:
        found = file[tree]
        entries = found.num_entries
    except uproot.exceptions.KeyInFileError as error:
        msg = f"{path}: there is no tree '{tree}'. Trees found: {_trees(file)}"
        raise NtupleError(msg) from error
    except Exception as error:
        msg = f"{path}: tree '{tree}' cannot be read: {first_line(error)}"
        raise NtupleError(msg) from error
    if not isinstance(entries, (int, np.integer)):
        msg = f"{path}: '{tree}' is a {found.classname}, not a tree"
        raise NtupleError(msg)
    return found


def check_bytes(path: str | Path) -> int:
    """Check, without reading a tree, that a local file is a whole ROOT file; return its size.

    A remote file (`protocol://...`) is left to the opening; its size is returned as 0.

    Raises:
        NtupleError: if it is missing, empty, not a ROOT file or shorter than its header says.
    """
    if is_remote(path):
        return 0
    with stream(path) as opened:
        head = opened.read(512)
        size = Path(path).stat().st_size
    if not size:
        msg = f"{path}: the file is empty (0 bytes)"
        raise NtupleError(msg)
    if not head.startswith(b"root"):
        hint = "it is a text or HTML page" if _is_text(head) else f"it starts with {head[:4]!r}"
        msg = f"{path}: not a ROOT file, {hint}; the download or transfer may have failed"
        raise NtupleError(msg)
    width = 8 if int.from_bytes(head[4:8], "big") >= _LONG_HEADER else 4
    end = int.from_bytes(head[12 : 12 + width], "big")
    if size < end:
        msg = f"{path}: truncated: the header announces {end} bytes, the file has {size}"
        raise NtupleError(msg)
    return size


def check_branches(path: str | Path, tree: Any, needed: Iterable[str]) -> None:
    """Refuse a tree that lacks branches, naming the first few with their nearest neighbours.

    Raises:
        NtupleError: if a branch is missing.
    """
    present = tree.keys()
    missing = sorted(set(needed) - set(present))
    if not missing:
        return
    described = []
    for name in missing[:_NAMED]:
        nearest = difflib.get_close_matches(name, present, n=1)
        described.append(f"'{name}'" + (f" (nearest: '{nearest[0]}')" if nearest else ""))
    others = f" and {len(missing) - _NAMED} others" if len(missing) > _NAMED else ""
    plural = "branch" if len(missing) == 1 else f"{len(missing)} branches"
    msg = (
        f"{path}: tree '{tree.name}' is missing {plural} {', '.join(described)}{others}; "
        f"it has {len(present)} branches. Choose the layout that describes the file"
    )
    raise NtupleError(msg)


def tree_weights(
    path: str | Path, tree: Any, layout: Layout, *, start: int = 0, stop: int | None = None
) -> float:
    """Return the float64 sum of the event weights of some entries; only their branch is read.

    Raises:
        NtupleError: if the branch cannot be read or holds a NaN or infinite weight.
    """
    column = layout.columns.get("weight")
    stop = tree.num_entries if stop is None else stop
    if column is None or column.branch not in tree:
        return (stop - start) * layout.default("weight")
    try:
        array = tree[column.branch].array(entry_start=start, entry_stop=stop, library="np")
    except Exception as error:
        msg = f"{path}: branch '{column.branch}' cannot be read: {first_line(error)}"
        raise NtupleError(msg) from error
    return total_weight(array, f"{path}: branch '{column.branch}'", start=start)


def total_weight(weights: np.ndarray[Any, Any], place: str, *, start: int = 0) -> float:
    """Return the sum of weights, exact but for one rounding, in whatever pieces it is added.

    Raises:
        NtupleError: if one is NaN or infinite, with its entry number, or they are lists or text.
    """
    if weights.ndim != 1 or not is_number(weights.dtype):
        what = "a list" if weights.ndim > 1 or weights.dtype.kind == "O" else str(weights.dtype)
        msg = f"{place}: the event weight is {what} per entry; needed: one number"
        raise NtupleError(msg)
    values = weights.astype(np.float64)
    bad = np.flatnonzero(~np.isfinite(values))
    if len(bad):
        msg = (
            f"{place}: {len(bad)} event weights are not finite, "
            f"first {values[bad[0]]} in entry {start + bad[0]}"
        )
        raise NtupleError(msg)
    return math.fsum(values)


def sha256_of(path: str | Path) -> str:
    """Return the sha256 of a file, in hexadecimal; one behind a URL is read as a stream.

    Raises:
        NtupleError: if it cannot be read.
    """
    digest = hashlib.sha256()
    with stream(path) as opened:
        while block := opened.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


@contextmanager
def _opened(path: str | Path) -> Iterator[Any]:
    try:
        file = uproot.open({str(path): None})
    except (ImportError, OSError) as error:
        raise NtupleError(unreadable(path, error)) from error
    except Exception as error:
        if is_remote(path):
            raise NtupleError(unreadable(path, error)) from error
        msg = f"{path}: cannot be opened as a ROOT file: {first_line(error)}"
        raise NtupleError(msg) from error
    with file:
        yield file


def _trees(file: Any) -> str:
    try:
        classes = file.classnames(cycle=False)
    except Exception as error:  # noqa: BLE001 - the caller reports why it looked for the trees
        return f"unknown ({first_line(error)})"
    found = sorted(n for n, c in classes.items() if c.startswith("TTree") or "RNTuple" in c)
    return ", ".join(found) or "none"


def _is_text(head: bytes) -> bool:
    return not head.strip(bytes(range(32, 127)) + b"\t\r\n")
