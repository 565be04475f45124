"""Writing flat and jagged columns as TTrees: ZSTD, large baskets, never a half-written file."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import awkward as ak
import boost_histogram as bh
import numpy as np
import uproot
from uproot.writing import to_writable

from hepcalib.exceptions import DataError, RunError, ShapeError
from hepcalib.ntuples.sources import first_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hist import Hist

__all__ = ["TEMPORARY", "is_storable", "replacing", "write", "write_histograms"]

TEMPORARY: Final = ".hepcalib-"  # how the names of unfinished files begin
_BASKET_ENTRIES = 100_000  # a chunk of the default size then reads each basket once
_BASKET_BYTES = 32_000_000  # of the longest column, before compression


def write(path: str | Path, tree: str, columns: Mapping[str, Any]) -> None:
    """Write columns as one TTree with ZSTD compression; the file appears whole or not at all.

    Jagged columns with a common prefix (`Jet_pt`, `Jet_eta`) share one counter (`nJet`); a counter
    among the columns must agree with them.

    Args:
        path: The file, replaced if it exists; its folder is made.
        tree: Name of the tree.
        columns: Branch -> numbers (entries,), or lists of numbers (entries, *).

    Raises:
        ShapeError: if columns or the lists of a collection have different lengths.
        DataError: if a column has missing values, deeper lists or no numbers.
    """
    arrays = {name: _checked(name, column) for name, column in columns.items()}
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        msg = f"{path}: columns have different lengths: {lengths}"
        raise ShapeError(msg)
    grouped = _grouped(arrays, path)
    entries = max(lengths.values(), default=0)
    with replacing(path) as temporary, uproot.recreate(temporary, compression=_zstd()) as file:
        step = _step(arrays, entries)
        target = file.mktree(tree, {name: array[:step] for name, array in grouped.items()})
        for start in range(step, entries, step):
            target.extend({name: a[start : start + step] for name, a in grouped.items()})


def write_histograms(path: str | Path, histograms: Mapping[str, Hist[Any]]) -> dict[str, str]:
    """Write histograms as ROOT TH1-3 and TProfile; a name may have folders (`jets/response`).

    Counts become TH1D, which is exact up to 2^53.

    Returns:
        The histograms that ROOT files do not hold, which are left out, and why.
    """
    left_out: dict[str, str] = {}
    with replacing(path) as temporary, uproot.recreate(temporary, compression=_zstd()) as file:
        for name in sorted(histograms):
            try:
                file[name] = to_writable(_of_numbers(histograms[name]))
            except (TypeError, ValueError, AttributeError, NotImplementedError) as error:
                left_out[name] = " ".join(str(error).split())[:200]
    return left_out


def _of_numbers(histogram: Hist[Any]) -> Hist[Any]:
    """Return counts as floating-point numbers, and other histograms as they are."""
    if histogram.kind is not bh.Kind.COUNT or histogram.variances() is None:
        return histogram
    if isinstance(histogram.storage_type(), (bh.storage.Double, bh.storage.Weight)):
        return histogram
    plain = type(histogram)(*histogram.axes, storage=bh.storage.Double())
    plain[...] = histogram.values(flow=True)
    return plain


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary name in the same folder; rename it to `path` if all went well.

    Raises:
        RunError: if the disk is full, or the folder cannot be made or written.
    """
    target = Path(path)
    if target.name.startswith(TEMPORARY):  # of a caller, who renames it and names it in errors
        yield target
        return
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            prefix=f"{TEMPORARY}{target.stem}-", suffix=target.suffix, dir=target.parent
        )
        os.close(handle)
        temporary = Path(name)
        try:
            yield temporary
            temporary.chmod(0o666 & ~_umask())
            _flush(temporary)
            temporary.replace(target)
            _flush(target.parent)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        msg = f"{target}: cannot be written: {error.strerror or error}"
        raise RunError(msg) from error


def _flush(path: Path) -> None:
    """Wait until the disk has a file, or the names in a folder."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def is_storable(dtype: np.dtype[Any]) -> bool:
    """Tell whether a branch can hold a type as it is."""
    return dtype.kind in "biu" or (dtype.kind == "f" and dtype.itemsize in {4, 8})


def _zstd() -> Any:
    return uproot.ZSTD(1)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _checked(name: str, column: Any) -> ak.Array:
    if isinstance(column, np.ndarray):
        column = column.astype(column.dtype.newbyteorder("="), copy=False)
    try:
        array = ak.to_packed(ak.materialize(ak.Array(column)))
    except (RuntimeError, TypeError, ValueError) as error:
        msg = f"column '{name}' holds what is no array of numbers: {first_line(error)}"
        raise DataError(msg) from error
    layout = ak.to_layout(array)
    content = layout.content if layout.is_list else layout
    if content.is_option or layout.is_option:
        if ak.any(ak.is_none(array, axis=-1)):
            msg = f"column '{name}' has missing values; fill or drop them before writing"
            raise DataError(msg)
        array = ak.drop_none(array, axis=-1)
        layout = ak.to_layout(array)
        content = layout.content if layout.is_list else layout
    if not (
        content.is_numpy
        and content.purelist_depth == 1
        and not content.parameters.get("__array__")
        and is_storable(content.data.dtype)
    ):
        msg = (
            f"column '{name}' is {ak.type(array)}; needed: numbers, or a list of numbers, per row, "
            "of up to 64 bits (32 or 64 if not whole)"
        )
        raise DataError(msg)
    return array


def _grouped(arrays: Mapping[str, ak.Array], path: str | Path) -> dict[str, ak.Array]:
    """Join jagged columns by prefix into records, so that each collection gets one counter."""
    collections: dict[str, dict[str, ak.Array]] = {}
    grouped: dict[str, ak.Array] = {}
    for name, array in arrays.items():
        prefix, _, member = name.partition("_")
        if array.ndim == 1:
            grouped[name] = array
        elif member:
            collections.setdefault(prefix, {})[member] = array
        else:
            grouped[name] = array
    for prefix, members in collections.items():
        counts = {f"{prefix}_{member}": ak.num(array) for member, array in members.items()}
        counter = grouped.pop(f"n{prefix}", None)
        if counter is not None:
            counts[f"n{prefix}"] = counter
        first, *others = counts
        for name in others:
            if not ak.array_equal(counts[first], counts[name], dtype_exact=False):
                msg = f"{path}: '{first}' and '{name}' differ in their numbers of objects"
                raise ShapeError(msg)
        grouped[prefix] = ak.zip(members, depth_limit=2)
    return grouped


def _step(arrays: Mapping[str, ak.Array], entries: int) -> int:
    """Return the entries per basket: many, but for the longest column not too many bytes."""
    largest = max((array.nbytes for array in arrays.values()), default=0)
    per_entry = max(1.0, largest / max(entries, 1))
    return max(1, min(_BASKET_ENTRIES, int(_BASKET_BYTES / per_entry)))
