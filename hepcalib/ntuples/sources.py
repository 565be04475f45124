"""Bytes of a file, here or behind a URL."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec

from hepcalib.exceptions import NtupleError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["first_line", "is_remote", "stream", "unreadable"]


def is_remote(path: str | Path) -> bool:
    """Tell whether a file is named by a URL (`protocol://...`), which fsspec opens."""
    return "://" in str(path)


@contextmanager
def stream(path: str | Path) -> Iterator[Any]:
    """Open a file for reading bytes; close it afterwards.

    Raises:
        NtupleError: if it cannot be opened or read.
    """
    try:
        with fsspec.open(str(path), "rb") if is_remote(path) else Path(path).open("rb") as opened:
            yield opened
    except NtupleError:
        raise
    except Exception as error:
        raise NtupleError(unreadable(path, error)) from error


def unreadable(path: str | Path, error: BaseException) -> str:
    """Return in one line why a file cannot be opened, and what its protocol may lack."""
    if isinstance(error, OSError) and error.strerror and not is_remote(path):
        return f"{path}: cannot be opened: {error.strerror}"
    protocol = str(path).partition("://")[0]
    hint = ""
    if is_remote(path) and isinstance(error, (ImportError, ValueError)):
        package = "fsspec-xrootd" if protocol in {"root", "xroot"} else "fsspec's plugin for it"
        hint = f". URLs of '{protocol}://' cannot be read here: install {package}, or copy the file"
    return f"{path}: cannot be opened: {first_line(error)}{hint}"


def first_line(error: BaseException) -> str:
    """Return the type and the first line of an error; some libraries' messages are pages long."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
