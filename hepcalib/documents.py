"""Files that hepcalib itself writes, read with limits: any bytes give a value or a clear error."""

from __future__ import annotations

import json
import math
import os
import re
import stat
from typing import TYPE_CHECKING, Any, NoReturn

from hepcalib.exceptions import DocumentError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["content", "parsed", "read"]

# A nested value takes up to a hundred times the memory of its text: at most so many of them.
DEEPEST, CONTAINERS = 64, 1 << 20
DIGITS = 20  # of a whole number: more do not fit into 64 bits

_STRING_OR_BRACKET = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def content(path: str | Path, *, limit: int) -> bytes:
    """Return the bytes of a regular file.

    Args:
        path: The file.
        limit: Largest size [bytes].

    Raises:
        DocumentError: if it is missing, no regular file (a folder, device or pipe), larger, or
            cannot be read.
    """
    try:
        with open(path, "rb", opener=_opened) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                msg = "cannot be read: it is a device, a pipe or the like; needed: a regular file"
                raise DocumentError(msg)
            found = file.read(limit + 1)
    except OSError as error:
        msg = f"cannot be read: {error.strerror}"
        raise DocumentError(msg, missing=isinstance(error, FileNotFoundError)) from error
    except ValueError as error:  # a path with a zero byte
        msg = f"cannot be read: {error}"
        raise DocumentError(msg) from error
    if len(found) > limit:
        msg = f"is larger than {limit:,} bytes, the most that hepcalib reads of such a file"
        raise DocumentError(msg)
    return found


def read(path: str | Path, *, limit: int, finite: bool = True) -> Any:
    """Return what a JSON file says; see `content` and `parsed`.

    Raises:
        DocumentError: if it cannot be read or is no JSON.
    """
    return parsed(content(path, limit=limit), finite=finite)


def parsed(text: bytes, *, finite: bool = True) -> Any:
    """Return what a JSON text says, in UTF-8 and strictly as RFC 8259 has it.

    Args:
        text: The bytes.
        finite: Whether numbers must be finite; otherwise NaN and Infinity may occur.

    Raises:
        DocumentError: if it is something else, names a key twice, is nested too deeply or in too
            many parts, or has a whole number of more than 20 digits.
    """
    _check_nesting(text)
    hooks: dict[str, Any] = {"parse_float": _finite, "parse_constant": _refused} if finite else {}
    try:
        value = json.loads(text.decode("utf-8"), object_pairs_hook=_once, parse_int=_whole, **hooks)
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode("utf-8")  # halves of characters
    except (ValueError, RecursionError) as error:
        msg = f"is no JSON: {error}"
        raise DocumentError(msg) from error
    return value


def _opened(path: str, flags: int) -> int:
    # Without this flag, which regular files ignore, the opening of a pipe waits for its writer.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _check_nesting(text: bytes) -> None:
    depth = containers = 0
    for token in _STRING_OR_BRACKET.finditer(text):
        first = text[token.start()]
        if first in b"[{":
            depth, containers = depth + 1, containers + 1
            if depth > DEEPEST or containers > CONTAINERS:
                msg = f"is nested more than {DEEPEST} deep or in more than {CONTAINERS:,} parts"
                raise DocumentError(msg)
        elif first in b"]}":
            depth -= 1


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        msg = f"the key {twice!r} is there twice"
        raise ValueError(msg)
    return found


def _whole(text: str) -> int:
    if len(text) > DIGITS:
        msg = f"a whole number of {len(text)} digits"
        raise ValueError(msg)
    return int(text)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        msg = f"the number {text[:DIGITS]} is not finite"
        raise ValueError(msg)
    return value


def _refused(text: str) -> NoReturn:
    msg = f"the number {text} is not finite"
    raise ValueError(msg)
