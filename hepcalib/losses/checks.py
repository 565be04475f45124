"""What every penalty asks of its input: equal lengths, finite values, no negative weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from hepcalib.exceptions import DataError, ShapeError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["check_input", "columns_of"]


def check_input(penalty: str, score: Tensor, nuisance: Tensor, weight: Tensor | None) -> None:
    """Refuse scores, nuisances and weights that no penalty can be computed from.

    Args:
        penalty: Name of the penalty, for the message.
        score: Tagger output.
        nuisance: Protected variable or variables.
        weight: Event weights.

    Shapes:
        score: (n,); nuisance: (n,) or (n, variables); weight: (n,)

    Raises:
        ShapeError: if a shape is not one of these.
        DataError: if a value is not finite or a weight is negative.
    """
    n = len(score) if score.ndim == 1 else -1
    is_column = nuisance.ndim == 1 or (nuisance.ndim == 2 and nuisance.shape[1] > 0)
    weight_shape = score.shape if weight is None else weight.shape
    if n < 0 or not is_column or len(nuisance) != n or weight_shape != score.shape:
        seen = "" if weight is None else f", weight {tuple(weight_shape)}"
        msg = (
            f"{penalty}: score has shape {tuple(score.shape)}, nuisance {tuple(nuisance.shape)}"
            f"{seen}. Needed: score (n,), nuisance (n,) or (n, variables), weight (n,)."
        )
        raise ShapeError(msg)
    for name, values in (("score", score), ("nuisance", nuisance), ("weight", weight)):
        if values is not None:
            _refuse(~torch.isfinite(values), values, f"{penalty}: {name} is not finite")
    if weight is not None:
        _refuse(weight < 0, weight, f"{penalty}: weight is negative (weights must be at least 0)")


def columns_of(nuisance: Tensor) -> Tensor:
    """Return one or several nuisances side by side, (n,) or (n, variables) -> (n, variables)."""
    return nuisance.unsqueeze(1) if nuisance.ndim == 1 else nuisance


def _refuse(bad: Tensor, values: Tensor, problem: str) -> None:
    if bool(bad.any()):
        entries = bad.reshape(len(bad), -1).any(dim=1).nonzero()[:, 0]
        first = int(entries[0])
        msg = (
            f"{problem} in {len(entries)} of {len(bad)} entries, the first at index {first}: "
            f"{values[first].detach().tolist()}."
        )
        raise DataError(msg)
