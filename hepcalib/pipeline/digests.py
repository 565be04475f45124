"""What decides whether something made before is still up to date: content, never file times."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import hepcalib

__all__ = ["code_digest", "digest", "versions"]

_PACKAGE = Path(hepcalib.__file__).parent


def digest(*parts: Any) -> str:
    """Return the sha256 of JSON-able values; equal values, whatever their key order, agree."""
    text = json.dumps(parts, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def code_digest(*rooms: str) -> str:
    """Return the sha256 over the source of some rooms, such as `("models", "batch")`."""
    total = hashlib.sha256()
    for room in sorted(rooms):
        path = _PACKAGE / room
        for source in sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]:
            total.update(source.relative_to(_PACKAGE).as_posix().encode())
            total.update(source.read_bytes())
    return total.hexdigest()


def versions(*distributions: str) -> dict[str, str]:
    """Return the installed version of each distribution, "absent" where there is none."""
    return {name: _version(name) for name in distributions}


@cache
def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "absent"
