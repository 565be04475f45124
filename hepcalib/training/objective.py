"""What a training minimises: likelihood, divergence from the prior, decorrelation penalty."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torch.distributions import Distribution

    from hepcalib.models.model import Model
    from hepcalib.training.examples import Examples
    from hepcalib.training.penalties import Penalty

__all__ = ["Objective", "Terms", "score"]


class Terms(NamedTuple):
    """The parts of the loss, each a scalar."""

    nll: Tensor
    regulariser: Tensor
    penalty: Tensor  # as measured
    cost: Tensor  # what it adds to the loss

    @property
    def loss(self) -> Tensor:
        """Their sum."""
        return self.nll + self.regulariser + self.cost


@dataclass(frozen=True)
class Objective:
    """What is minimised: a model and a penalty, and the size of the training sample."""

    model: Model
    rows: int
    penalty: Penalty | None = None

    def strength(self, epoch: int) -> float:
        """Return the strength of the penalty in an epoch, counted from 0; 0 without one."""
        return 0.0 if self.penalty is None else self.penalty.strength(epoch)

    def criterion(self, nll: float, value: float, *, epoch: int) -> float:
        """Return what is the smaller, the better an epoch: nll, or what the penalty makes of it."""
        if self.penalty is None:
            return nll
        return self.penalty.criterion(nll, value, epoch=epoch)

    def terms(self, examples: Examples, *, epoch: int) -> Terms:
        """Return the parts of the loss of a batch of examples, differentiable."""
        predicted = self.model(examples.batch)
        loss = self.model.weighted_loss(predicted, examples.target, examples.weight)
        nll = loss.mean()
        penalty = cost = nll.new_zeros(())
        if self.penalty is not None and bool(torch.isfinite(nll)):
            parts = self.penalty.cost(score(predicted), examples, epoch=epoch)
            penalty, cost = (part.to(nll.dtype) for part in parts)
        regulariser = self.model.regulariser(
            predicted, examples.target, rows=self.rows, weight=examples.weight
        )
        return Terms(nll, regulariser, penalty, cost)


def score(predicted: Distribution) -> Tensor:
    """Return the mean of the predicted distribution (rows,), averaged over members if any."""
    mean: Tensor = predicted.mean
    return mean if mean.dim() == 1 else mean.mean(dim=0)
