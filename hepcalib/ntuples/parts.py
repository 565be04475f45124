"""Per-object output of chunks, saved one by one and joined in the order of the input."""

from __future__ import annotations

import io
import re
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo

import awkward as ak
import numpy as np
import uproot

from hepcalib import documents
from hepcalib.exceptions import DataError, DocumentError, RunError, ShapeError
from hepcalib.ntuples.sources import first_line
from hepcalib.ntuples.writing import is_storable, replacing

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

__all__ = ["is_part", "merge_parts", "save_part"]

_NAME = re.compile(r"(?P<file>\d{6})-(?P<uuid>[^-]+)-(?P<start>\d+)-(?P<stop>\d+)\.npz")
_PREFIX = "column_"  # numpy has keywords of its own, which no column may meet
# What Python raises of an archive that is none.
_UNLIKE_PARTS = (BadZipFile, EOFError, KeyError, NotImplementedError, RuntimeError, ValueError)
_LARGEST = 1 << 32  # of a part [bytes]
_ROWS = 500_000  # rows per basket of the merged tree


class _Part(NamedTuple):
    file_number: int
    file: str
    start: int
    stop: int
    path: Path


def save_part(folder: str | Path, metadata: Mapping[str, Any], columns: Any) -> Path:
    """Save the columns of one chunk; saving it again replaces them.

    Args:
        folder: Where the parts of one dataset go; it is made.
        metadata: `events.metadata`: file_number, fileuuid, entrystart and entrystop name the part.
        columns: Name -> numbers (objects,), as a mapping or a flat record array.

    Returns:
        The file of the part.

    Raises:
        DataError: if a column is not one number per object.
        ShapeError: if columns have different lengths.
    """
    names = ak.fields(columns) if isinstance(columns, ak.Array) else list(columns)
    arrays = {name: _numbers(name, columns[name]) for name in names}
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        msg = f"columns of a part have different lengths: {lengths}"
        raise ShapeError(msg)
    path = Path(folder) / _part_name(metadata)
    with replacing(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **{_PREFIX + n: a for n, a in arrays.items()})
    return path


def merge_parts(
    folder: str | Path,
    output: str | Path,
    *,
    tree: str = "columns",
    chunks: Iterable[Mapping[str, Any]] | None = None,
) -> int:
    """Join the parts of a folder into one flat TTree, by file, then by entry.

    Parts are read and written one after the other, so memory does not grow with their number.

    Args:
        folder: Where `save_part` put them.
        output: The ROOT file, replaced if it exists.
        tree: Name of the tree.
        chunks: Metadata of the chunks whose parts are wanted, all of which must be there; None
            takes all parts.

    Returns:
        The number of rows written.

    Raises:
        RunError: if there are no parts, one is missing, damaged or different in its columns, or
            two cover the same entries.
    """
    parts = _ordered(Path(folder), chunks)
    rows = 0
    with (
        replacing(output) as temporary,
        uproot.recreate(temporary, compression=uproot.ZSTD(1)) as file,
    ):
        types = {name: array.dtype for name, array in _load(parts[0]).items()}
        target = file.mktree(tree, types)
        waiting: list[dict[str, NDArray[Any]]] = []
        for part in parts:
            arrays = _load(part)
            if {name: array.dtype for name, array in arrays.items()} != types:
                msg = f"{part.path}: columns differ from those of {parts[0].path.name}: {types}"
                raise RunError(msg)
            waiting.append(arrays)
            if sum(_rows(w) for w in waiting) >= _ROWS:
                rows += _extend(target, waiting)
        rows += _extend(target, waiting)
    return rows


def is_part(name: str) -> bool:
    """Tell whether a file has the name of a part."""
    return _NAME.fullmatch(name) is not None


def _part_name(metadata: Mapping[str, Any]) -> str:
    uuid = str(metadata.get("fileuuid", "")).replace("-", "")[:16] or "0"
    start, stop = int(metadata["entrystart"]), int(metadata["entrystop"])
    return f"{int(metadata.get('file_number', 0)):06d}-{uuid}-{start}-{stop}.npz"


def _ordered(folder: Path, chunks: Iterable[Mapping[str, Any]] | None) -> list[_Part]:
    if chunks is None:
        paths = sorted(folder.glob("*.npz"))
    else:
        paths = [folder / _part_name(metadata) for metadata in chunks]
        missing = [path.name for path in paths if not path.is_file()]
        if missing:
            msg = f"{folder}: no part was saved for {len(missing)} chunks, first {missing[0]}"
            raise RunError(msg)
    parts = sorted(_parsed(path) for path in paths)
    if not parts:
        msg = f"{folder}: there are no parts to merge"
        raise RunError(msg)
    _refuse_overlap(parts)
    return parts


def _parsed(path: Path) -> _Part:
    match = _NAME.fullmatch(path.name)
    if match is None:
        msg = f"{path}: not the name of a part; keep other files out of this folder"
        raise RunError(msg)
    file_number, start, stop = (int(match[key]) for key in ("file", "start", "stop"))
    return _Part(file_number, match["uuid"], start, stop, path)


def _refuse_overlap(parts: Sequence[_Part]) -> None:
    for one, other in pairwise(parts):
        same_file = (one.file_number, one.file) == (other.file_number, other.file)
        if same_file and other.start < one.stop:
            msg = (
                f"{one.path.parent}: {one.path.name} and {other.path.name} cover the same entries; "
                "empty the folder before a run with other chunks"
            )
            raise RunError(msg)


def _load(part: _Part) -> dict[str, NDArray[Any]]:
    try:
        stored = documents.content(part.path, limit=_LARGEST)
        with ZipFile(io.BytesIO(stored)) as archive:
            return {
                entry.filename.removesuffix(".npy").removeprefix(_PREFIX): _column(archive, entry)
                for entry in archive.infolist()
            }
    except (DocumentError, *_UNLIKE_PARTS) as error:
        msg = f"{part.path}: the part cannot be read: {error}"
        raise RunError(msg) from error


def _column(archive: ZipFile, entry: ZipInfo) -> NDArray[Any]:
    """Return one column, which is as long as its bytes and not compressed."""
    if entry.compress_type != ZIP_STORED:
        msg = f"{entry.filename} is compressed; needed: as numpy.savez writes it"
        raise ValueError(msg)
    stream = io.BytesIO(archive.read(entry))
    if np.lib.format.read_magic(stream) != (1, 0):
        msg = f"{entry.filename} is of an unknown version"
        raise ValueError(msg)
    shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    if len(shape) != 1 or dtype.kind not in "biuf":
        msg = f"{entry.filename} is {dtype} of shape {shape}; needed: a list of numbers"
        raise ValueError(msg)
    values = np.frombuffer(stream.read(), dtype=dtype)
    if len(values) != shape[0]:
        msg = f"{entry.filename} has {len(values)} numbers and says {shape[0]}"
        raise ValueError(msg)
    return values


def _extend(target: Any, waiting: list[dict[str, NDArray[Any]]]) -> int:
    rows = sum(_rows(arrays) for arrays in waiting)
    if rows:
        target.extend({name: np.concatenate([w[name] for w in waiting]) for name in waiting[0]})
    waiting.clear()
    return rows


def _rows(arrays: Mapping[str, NDArray[Any]]) -> int:
    return len(next(iter(arrays.values()), ()))


def _numbers(name: str, column: Any) -> NDArray[Any]:
    try:
        array = np.asarray(ak.to_numpy(column, allow_missing=False))
    except (RuntimeError, TypeError, ValueError) as error:
        msg = f"column '{name}' is not one number per object: {first_line(error)}"
        raise DataError(msg) from error
    if array.ndim != 1 or not is_storable(array.dtype):
        msg = f"column '{name}' is {array.dtype} of shape {array.shape}; needed: (objects,) numbers"
        raise DataError(msg)
    return array.astype(array.dtype.newbyteorder("="), copy=False)
