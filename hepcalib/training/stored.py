"""The state of a training in a file: tensors and plain values, as safetensors and JSON."""

from __future__ import annotations

import json
import math
from numbers import Real
from typing import TYPE_CHECKING, Any

import safetensors.torch
from torch import Tensor

from hepcalib import documents
from hepcalib.exceptions import DocumentError
from hepcalib.tensors import tensors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Parts", "is_count", "packed", "require_alike", "require_numbers", "unpacked"]

NOTE = "training"  # of the safetensors file: what is no tensor

Parts = dict[str, dict[str, Any]]  # tensors and plain values by part and name


def packed(state: Mapping[str, Mapping[str, Any]], *, of: Sequence[Any]) -> bytes:
    """Return a state as bytes.

    Args:
        state: Tensors and plain values by part and name.
        of: What identifies the training.
    """
    given: dict[str, Tensor] = {}
    values: Parts = {part: {} for part in state}
    for part, found in state.items():
        for name, value in found.items():
            if isinstance(value, Tensor):
                # Copies, since a file holds no tensor twice.
                given[f"{part}/{name}"] = value.detach().to("cpu", copy=True).contiguous()
            else:
                values[part][name] = value
    note = json.dumps({"of": list(of), "values": values}, allow_nan=False)
    return safetensors.torch.save(given, metadata={NOTE: note})


def unpacked(stored: bytes) -> tuple[list[Any], Parts]:
    """Return what identifies the training, and its state.

    Raises:
        DocumentError: if these bytes have not come from `packed`.
    """
    found = tensors(stored)
    note = documents.parsed(found.notes.get(NOTE, "").encode())
    of, values = (note.get(key) if isinstance(note, dict) else None for key in ("of", "values"))
    if not isinstance(of, list) or not isinstance(values, dict):
        msg = "has no training among its notes"
        raise DocumentError(msg)
    state: Parts = {}
    for part, plain in values.items():
        if not isinstance(plain, dict):
            msg = f"{part}: holds a {type(plain).__name__}; needed: an object"
            raise DocumentError(msg)
        state[part] = plain
    for key, tensor in found.values.items():
        part, _, name = key.partition("/")
        state.setdefault(part, {})[name] = tensor
    return of, state


def require_alike(found: Mapping[str, Any], needed: Mapping[str, Any], where: str) -> None:
    """Refuse tensors of other names, shapes or types than needed.

    Raises:
        DocumentError: naming the first of them.
    """
    for name in sorted(found.keys() | needed.keys()):
        seen, own = (
            (value.dtype, tuple(value.shape)) if isinstance(value, Tensor) else None
            for value in (found.get(name), needed.get(name))
        )
        if seen != own:
            msg = f"{where}: {name} is {seen}; needed: {own}"
            raise DocumentError(msg)


def require_numbers(found: Any, length: int, where: str) -> list[float]:
    """Return so many finite numbers.

    Raises:
        DocumentError: if they are something else.
    """
    known = isinstance(found, list) and len(found) == length
    if not known or not all(isinstance(x, Real) and math.isfinite(x) for x in found):
        msg = f"{where}: needed: {length} finite numbers"
        raise DocumentError(msg)
    return list(found)


def is_count(value: Any, most: float) -> bool:
    """Tell whether a value is a whole number from 0 to the most."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= most
