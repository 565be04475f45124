"""Memory that a training frees and needs again in its next step."""

from __future__ import annotations

import ctypes
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["kept_memory"]

# Parameters of mallopt(3).
TRIM_THRESHOLD, MMAP_THRESHOLD, MMAP_MAX = -1, -3, -4
LARGEST = 2**31 - 1


@contextmanager
def kept_memory() -> Iterator[bool]:
    """Let the process keep the memory that it frees, until the end of the context.

    Each step of a training frees its activations. The C library gives large ones back to the
    system, which clears each page again when the next step asks for it: that took half the time of
    a step of `ParticleNet`. Afterwards everything free is given back. Another C library than glibc
    is left as it is.

    Yields:
        Whether the memory is kept.
    """
    library = ctypes.CDLL(None) if os.name == "posix" else None
    if library is None or not hasattr(library, "mallopt"):
        yield False
        return
    library.mallopt(MMAP_MAX, 0)
    library.mallopt(TRIM_THRESHOLD, LARGEST)
    try:
        yield True
    finally:
        # What glibc itself arrives at in a process that uses large tensors.
        library.mallopt(MMAP_MAX, 65_536)
        library.mallopt(MMAP_THRESHOLD, 2**25)
        library.mallopt(TRIM_THRESHOLD, 2**26)
        library.malloc_trim(0)
