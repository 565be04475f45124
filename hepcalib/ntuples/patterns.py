"""The files that a pattern of names matches, each once."""

from __future__ import annotations

import glob
import os
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from hepcalib.exceptions import NtupleError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["matching"]

_ANY_DEPTH = "**"


def matching(pattern: str) -> list[Path]:
    """Return the files that a pattern matches, sorted by name; none twice under several names.

    `*`, `?` and `[...]` match within a name, `**` folders of any depth, this one included. As in a
    shell, none of them matches a name that begins with a dot. Links are followed, but not in a
    circle. What exists under the name of the pattern itself is that file.

    Args:
        pattern: A path, of which `/` separates the parts.

    Raises:
        NtupleError: if a folder cannot be listed, since its files would be missing.
    """
    given = Path(pattern)
    if os.path.lexists(given) or not glob.has_magic(pattern):
        return [given] if os.path.lexists(given) else []
    start = Path(given.anchor)
    parts = given.parts[1:] if given.anchor else given.parts
    try:
        found = sorted(_within(start, parts, (os.path.realpath(start),)), key=str)
        if _ANY_DEPTH in parts:
            found = [path for path in found if not path.is_dir()]
    except OSError as error:
        msg = f"{error.filename}: cannot be looked into: {error.strerror or error}"
        raise NtupleError(msg) from error
    first = {os.path.realpath(path): path for path in reversed(found)}
    return sorted(first.values(), key=str)


def _within(folder: Path, parts: tuple[str, ...], above: tuple[str, ...]) -> Iterator[Path]:
    """Yield what matches below a folder; `above` are the real paths that led to it by `**`."""
    part, rest = parts[0], parts[1:]
    if part == _ANY_DEPTH and rest[:1] == (_ANY_DEPTH,):
        yield from _within(folder, rest, above)
        return
    if part == _ANY_DEPTH:
        yield from _within(folder, rest or ("*",), above)
        for child in _children(folder, "*"):
            real = os.path.realpath(child)
            if child.is_dir() and real not in above:
                yield from _within(child, parts, (*above, real))
        return
    children = _children(folder, part) if glob.has_magic(part) else [folder / part]
    for child in children:
        if not rest:
            if os.path.lexists(child):
                yield child
        elif child.is_dir():
            yield from _within(child, rest, (*above, os.path.realpath(child)))


def _children(folder: Path, pattern: str) -> list[Path]:
    """Return what a folder holds under names that match; a dot first in a name hides it."""
    hidden = pattern.startswith(".")
    return sorted(
        child
        for child in folder.iterdir()
        if fnmatchcase(child.name, pattern) and (hidden or not child.name.startswith("."))
    )
