"""The weights of a bundle, read only if they are those that its specification describes."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from hepcalib import documents, models
from hepcalib.exceptions import DocumentError
from hepcalib.models.outline import outline
from hepcalib.tensors import tensors

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

    from hepcalib.features import Inputs
    from hepcalib.models import Model

__all__ = ["restored"]

# Of the file: each number, and what the header says of each tensor [bytes].
LARGEST_NUMBER, NOTE = 8, 1024
FLOATS = {torch.float16, torch.bfloat16, torch.float32, torch.float64}


def restored(spec: Mapping[str, Any], inputs: Inputs, file: Path, *, sha256: str) -> Model:
    """Return a model with the weights of a file, and load the constants of its inputs.

    The shapes of the model follow from its specification without making it; a file that is larger
    than these need is not read.

    Args:
        spec: What `models.build` takes.
        inputs: The inputs of the model, which get their constants.
        file: The weights.
        sha256: Of the file.

    Raises:
        DocumentError: if the file cannot be read, is another one or does not hold these weights.
        ConfigError: if there is no such model.
    """
    planned = nn.ModuleDict({"model": outline(spec), "inputs": inputs}).state_dict()
    largest = sum(LARGEST_NUMBER * value.numel() + NOTE for value in planned.values())
    content = documents.content(file, limit=largest)
    found_sha256 = hashlib.sha256(content).hexdigest()
    if found_sha256 != sha256:
        msg = (
            f"sha256 is {found_sha256}, bundle.json says {sha256}; the file is damaged or of "
            "another bundle"
        )
        raise DocumentError(msg)
    try:
        found = tensors(content).values
        _compare(found, planned)
    except DocumentError as error:
        msg = f"does not hold the weights that bundle.json describes: {error}"
        raise DocumentError(msg) from error
    model = models.build(spec)
    first, _ = next(model.named_parameters())
    if found[f"model.{first}"].dtype == torch.float64:
        model.double()  # the type in which it was trained
    nn.ModuleDict({"model": model, "inputs": inputs}).load_state_dict(found)
    return model


def _compare(found: Mapping[str, Tensor], planned: Mapping[str, Tensor]) -> None:
    """Refuse tensors of other names, shapes or kinds than those that a model has."""
    for name in sorted(found.keys() ^ planned.keys()):
        msg = f"'{name}' is {'missing' if name in planned else 'unknown'}"
        raise DocumentError(msg)
    for name, needed in planned.items():
        seen = found[name]
        floats = needed.is_floating_point() and seen.dtype in FLOATS
        if seen.shape != needed.shape or not (floats or seen.dtype == needed.dtype):
            msg = (
                f"'{name}' is {seen.dtype} of shape {tuple(seen.shape)}; needed: {needed.dtype} "
                f"of {tuple(needed.shape)}"
            )
            raise DocumentError(msg)
