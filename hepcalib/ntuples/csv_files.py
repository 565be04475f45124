"""CSV files as trees in memory: every cell is checked, all else is as with ROOT files."""

from __future__ import annotations

import csv
import hashlib
import io
import math
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import uproot

from hepcalib.exceptions import NtupleError, one_line
from hepcalib.ntuples.columns import STANDARD
from hepcalib.ntuples.sources import stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from hepcalib.ntuples.layout import Layout

    Parser = Callable[[str], float]

__all__ = ["csv_size", "open_csv", "read_csv"]


@contextmanager
def open_csv(path: str | Path, layout: Layout) -> Iterator[tuple[Any, Any]]:
    """Yield a CSV file as a ROOT directory in memory, with its tree; see `read_csv`.

    The identity (uuid) of the directory is that of the contents. The file is read as a whole each
    time.

    Raises:
        NtupleError: if the file cannot be read, or a cell is not what it must be.
    """
    content = _content(path)
    columns = _columns(path, content, layout)
    identity = uuid.UUID(bytes=hashlib.sha256(content).digest()[:16])
    buffer = io.BytesIO()
    with uproot.recreate(buffer, uuid_function=lambda: identity) as made:
        made.mktree(layout.tree, {name: column.dtype for name, column in columns.items()})
        made[layout.tree].extend(columns)
        tree = buffer.getvalue()
    with uproot.open(io.BytesIO(tree)) as file:
        yield file, file[layout.tree]


def read_csv(path: str | Path, layout: Layout) -> dict[str, NDArray[Any]]:
    """Return the columns of a CSV file that a layout knows, one number per row, by their names.

    The first line names the columns. Words become the numbers that the layout gives them; columns
    that it does not know are left out, whatever they hold.

    Args:
        path: The file, in UTF-8, separated by commas.
        layout: Its layout.

    Raises:
        NtupleError: naming file, line, column and value, if a cell is neither a finite number nor a
            known word, a line has too many or too few cells, or a column is missing or there twice.
    """
    return _columns(path, _content(path), layout)


def csv_size(path: str | Path) -> int:
    """Return the size of a file in bytes.

    Raises:
        NtupleError: if it is missing or empty.
    """
    return len(_content(path))


def _content(path: str | Path) -> bytes:
    with stream(path) as opened:
        content: bytes = opened.read()
    if not content:
        msg = f"{path}: the file is empty (0 bytes)"
        raise NtupleError(msg)
    return content


def _columns(path: str | Path, content: bytes, layout: Layout) -> dict[str, NDArray[Any]]:
    try:
        lines = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        names = next(lines, [])
        _check_header(path, names, layout)
        parsers = _parsers(layout, names)
        rows = [_row(f"{path}:{lines.line_num}", names, cells, parsers) for cells in lines if cells]
    except (UnicodeDecodeError, csv.Error) as error:
        msg = f"{path}: is no CSV file: {error}"
        raise NtupleError(msg) from error
    dtypes = _dtypes(layout)
    return {
        name: np.array([row[i] for row in rows], dtype=dtypes[name])
        for i, name in enumerate(parsers)
    }


def _check_header(path: str | Path, names: Sequence[str], layout: Layout) -> None:
    missing = sorted(layout.required() - set(names))
    twice = sorted({name for name in names if names.count(name) > 1})
    if missing or twice:
        what = f"has no column {', '.join(missing)}" if missing else f"has {', '.join(twice)} twice"
        shown = one_line(", ".join(names), longest=300)
        msg = f"{path}:1: the first line {what}; it reads {shown}. Choose the layout of the file"
        raise NtupleError(msg)


def _row(
    place: str, names: Sequence[str], cells: Sequence[str], parsers: dict[str, Parser]
) -> list[float]:
    if len(cells) != len(names):
        msg = f"{place}: {len(cells)} cells, the first line names {len(names)} columns"
        raise NtupleError(msg)
    by_name = dict(zip(names, cells, strict=True))
    row = []
    for name, parser in parsers.items():
        try:
            row.append(parser(by_name[name]))
        except ValueError as error:
            msg = f"{place}: column '{name}' is '{by_name[name]}'; needed: {error}"
            raise NtupleError(msg) from error
    return row


def _dtypes(layout: Layout) -> dict[str, str]:
    """Return how each column is stored; as in a ROOT file, real numbers in double precision."""
    standard = STANDARD[layout.object]
    return {
        branch: "int64" if standard[name].dtype == "int64" else "float64"
        for name, column in layout.columns.items()
        for branch in column.branches
    }


def _parsers(layout: Layout, names: Sequence[str]) -> dict[str, Parser]:
    """Return what reads each cell that the layout knows, in a fixed order of the columns."""
    found: dict[str, Parser] = {}
    for name, dtype in _dtypes(layout).items():
        if name in names:
            words = layout.words.get(name)
            numbers = _whole if dtype == "int64" else _number
            found[name] = numbers if words is None else _Words(words)
    return found


class _Words:
    """Reads words that stand for numbers."""

    def __init__(self, known: Any) -> None:
        self._known = known

    def __call__(self, cell: str) -> int:
        try:
            return int(self._known[cell])
        except KeyError as error:
            raise ValueError(" or ".join(sorted(self._known))) from error


def _number(cell: str) -> float:
    try:
        number = float(cell)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or "_" in cell:
        msg = "a finite number"
        raise ValueError(msg)
    return number


def _whole(cell: str) -> int:
    try:
        number = int(cell)
    except ValueError:
        number = 2**63
    if "_" in cell or not -(2**63) <= number < 2**63:
        msg = "a whole number of 64 bits"
        raise ValueError(msg)
    return number
