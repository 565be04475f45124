"""What a training minimises: likelihood, divergence from the prior, decorrelation penalty."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from hepcalib import losses

if TYPE_CHECKING:
    from torch.distributions import Distribution

    from hepcalib.models.model import Model
    from hepcalib.training.examples import Examples
    from hepcalib.training.options import TrainingOptions

__all__ = ["Objective", "Terms", "score"]


class Terms(NamedTuple):
    """The parts of the loss, each a scalar."""

    nll: Tensor
    regulariser: Tensor
    penalty: Tensor


@dataclass(frozen=True)
class Objective:
    """What is minimised: a model with the options of its training and the size of its sample."""

    model: Model
    options: TrainingOptions
    rows: int

    def strength(self, epoch: int) -> float:
        """Strength of the penalty in an epoch, counted from 0: a linear ramp, then constant."""
        if self.options.penalty is None:
            return 0.0
        warmup = self.options.penalty_warmup_epochs
        return self.options.penalty_strength * min(1.0, (epoch + 1) / (warmup + 1))

    def terms(self, examples: Examples) -> Terms:
        """Return the parts of the loss of a batch of examples, differentiable."""
        predicted = self.model(examples.batch)
        loss = self.model.weighted_loss(predicted, examples.target, examples.weight)
        nll = loss.mean()
        penalty = nll.new_zeros(())
        if self.options.penalty is not None and bool(torch.isfinite(nll)):
            penalty = self.penalty(score(predicted), examples).to(nll.dtype)
        regulariser = self.model.regulariser(predicted, examples.target, rows=self.rows)
        return Terms(nll, regulariser, penalty)

    def penalty(self, score: Tensor, examples: Examples) -> Tensor:
        """Return the penalty of the background rows; 0 where there are fewer than two."""
        background, nuisance = examples.background, examples.nuisance
        if self.options.penalty is None or background is None or nuisance is None:
            return score.new_zeros(())
        selected = background.nonzero().squeeze(1)
        if len(selected) < 2:
            return score.new_zeros(())
        weight = None if examples.weight is None else examples.weight[selected]
        function = getattr(losses, self.options.penalty)
        result: Tensor = function(score[selected], nuisance[selected], weight=weight)
        return result


def score(predicted: Distribution) -> Tensor:
    """Return the mean of the predicted distribution (rows,), averaged over members if any."""
    mean: Tensor = predicted.mean
    return mean if mean.dim() == 1 else mean.mean(dim=0)
