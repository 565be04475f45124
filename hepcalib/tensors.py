"""Tensors in the format safetensors, read with limits: any bytes give tensors or a clear error."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import safetensors.torch
from safetensors import SafetensorError

from hepcalib import documents
from hepcalib.exceptions import DocumentError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Tensors", "tensors"]

LENGTH, HEADER = 8, 1 << 24  # of the header: where its size is, and the most bytes it may have


class Tensors(NamedTuple):
    """What a safetensors file holds."""

    values: dict[str, Tensor]
    notes: dict[str, str]


def tensors(stored: bytes) -> Tensors:
    """Return the tensors and the notes of a safetensors file.

    Raises:
        DocumentError: if the bytes are something else.
    """
    size = int.from_bytes(stored[:LENGTH], "little")
    if not 0 < size <= min(HEADER, len(stored) - LENGTH):
        msg = f"is no safetensors file: a header of {size} bytes in {len(stored)}"
        raise DocumentError(msg)
    header = documents.parsed(stored[LENGTH : LENGTH + size])
    notes = header.get("__metadata__", {}) if isinstance(header, dict) else None
    if not isinstance(notes, dict) or not all(isinstance(note, str) for note in notes.values()):
        msg = "is no safetensors file: its header or its notes are none"
        raise DocumentError(msg)
    try:
        return Tensors(safetensors.torch.load(stored), notes)
    except (SafetensorError, ValueError, TypeError, KeyError, RuntimeError) as error:
        msg = f"is no safetensors file: {error}"
        raise DocumentError(msg) from error
