"""Objects to learn from, and what must hold of them before a training starts."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from hepcalib.exceptions import DataError, ShapeError, TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from hepcalib.batch import Batch

__all__ = ["Examples", "require_classes", "require_learnable", "require_penalisable"]


class Examples(NamedTuple):
    """Transformed inputs of objects, with what is to be learnt of them."""

    batch: Batch  # transformed features
    target: Tensor  # (rows,): log10 R, or 1 for signal and 0 for background
    weight: Tensor | None = None  # (rows,) any scale; negative ones only without a penalty
    nuisance: Tensor | None = None  # (rows,) or (rows, variables): what the score shall not tell
    background: Tensor | None = None  # (rows,) bool: where the penalty acts
    auxiliary: Tensor | None = None  # (rows, inputs) what an adversary knows beside the score

    def select(self, rows: Tensor) -> Examples:
        """Return some of the examples, in the order asked for."""
        return self._map(self.batch.select(rows), lambda part: part[rows])

    def to(self, device: torch.device | str) -> Examples:
        """Return the examples on another device."""
        return self._map(self.batch.to(device), lambda part: part.to(device))

    def _map(self, batch: Batch, function: Callable[[Tensor], Tensor]) -> Examples:
        optional = (None if part is None else function(part) for part in self[2:])
        return Examples(batch, function(self.target), *optional)


def require_learnable(examples: Examples, what: str) -> None:
    """Refuse examples that no training can use; `what` names the sample in the message.

    Raises:
        TrainingError: if there are none, or the weights do not have a positive sum.
        ShapeError: if the parts have different lengths.
        DataError: if a target or a weight is not finite.
    """
    rows = examples.batch.rows
    for name, part in zip(examples._fields[1:], examples[1:], strict=True):
        if not isinstance(part, torch.Tensor):
            continue
        may_have_columns = name in {"nuisance", "auxiliary"} and part.dim() == 2
        if part.shape[:1] != (rows,) or part.dim() != 1 + may_have_columns:
            msg = f"{what} {name} has shape {tuple(part.shape)}; needed: ({rows},), as the batch"
            raise ShapeError(msg)
    if rows == 0:
        msg = f"the {what} sample is empty: nothing to learn from"
        raise TrainingError(msg)
    _require_finite(examples.target, f"{what} target")
    if examples.weight is not None:
        _require_finite(examples.weight, f"{what} weight")
        total = examples.weight.double().sum().item()
        if total <= 0:
            msg = f"the {what} weights sum to {total}; needed: a positive sum"
            raise TrainingError(msg)


def require_classes(examples: Examples, what: str) -> None:
    """Refuse the targets of a tagger that are not probabilities, or all of one class.

    Raises:
        DataError: if a target is outside [0, 1].
        TrainingError: if all targets are the same.
    """
    low, high = (value.item() for value in torch.aminmax(examples.target))
    if low < 0 or high > 1:
        msg = f"{what} targets of a tagger reach from {low} to {high}; needed: 0 to 1"
        raise DataError(msg)
    if low == high:
        missing = "signal" if low < 0.5 else "background"
        msg = f"all {examples.batch.rows} {what} targets are {low}: there is no {missing}"
        raise TrainingError(msg)


def require_penalisable(examples: Examples, what: str, *, acts_on: str = "background") -> None:
    """Refuse examples that give no decorrelation penalty on the background, or on "all" rows.

    Raises:
        TrainingError: if nuisance or background mask are missing, or one class is empty.
        DataError: if one of these rows has a negative weight, or a nuisance or auxiliary input
            that is not finite.
    """
    if examples.nuisance is None or examples.background is None:
        msg = f"a penalty needs the nuisance and the background mask of the {what} sample"
        raise TrainingError(msg)
    background = examples.background.bool()
    count, rows = int(background.sum()), examples.batch.rows
    if count < 2 or count == rows:
        msg = f"{count} of {rows} {what} rows are background; a penalty needs both classes"
        raise TrainingError(msg)
    seen = background if acts_on == "background" else torch.ones_like(background)
    of_these = "of the background" if acts_on == "background" else "of all rows"
    _require_finite(examples.nuisance[seen], f"{what} nuisance {of_these}")
    if examples.auxiliary is not None:
        _require_finite(examples.auxiliary[seen], f"{what} auxiliary input {of_these}")
    if examples.weight is not None:
        negative = int((examples.weight[seen] < 0).sum())
        if negative:
            msg = (
                f"{negative} of {int(seen.sum())} {acts_on} rows of the {what} sample have a "
                "negative weight, for which a decorrelation penalty is not defined; train without "
                "one, or with non-negative weights"
            )
            raise DataError(msg)


def _require_finite(values: Tensor, what: str) -> None:
    bad = ~torch.isfinite(values.reshape(len(values), -1)).all(dim=1)
    if bool(bad.any()):
        first = int(bad.nonzero()[0])
        msg = (
            f"{what} is not finite for {int(bad.sum())} of {len(values)}, first in row {first}: "
            f"{values[first].tolist()}"
        )
        raise DataError(msg)
