"""What a training went through, epoch by epoch."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Epoch", "History"]


class Epoch(NamedTuple):
    """Figures of one epoch; likelihoods and divergences in nat per object.

    The `nll` is the mean of the model's loss, which is minus the log-likelihood for most models.
    """

    epoch: int  # from 1
    train_nll: float  # mean over the steps, in training mode
    regulariser: float  # mean over the steps: KL per example, prior or repulsion; 0 without one
    penalty: float  # mean over the steps, before its strength
    validation_nll: float  # in evaluation mode: at the mean weights for a Bayesian model
    validation_penalty: float  # of the whole validation background, or of all its rows
    strength: float  # of the penalty in this epoch; of a constraint, from 0 to 1
    criterion: float  # what chooses the epoch: validation_nll + full strength * validation_penalty
    validation_auc: float = 0.5  # of a tagger with a penalty; 1/2 where it is not measured


class History(tuple[Epoch, ...]):
    """All epochs of a training, in order."""

    __slots__ = ()

    @property
    def best(self) -> Epoch:
        """The epoch whose weights the model was left with.

        It is the one of the smallest criterion, among those trained at full penalty strength.
        """
        full = max(epoch.strength for epoch in self)
        return min((e for e in self if e.strength == full), key=lambda e: e.criterion)
