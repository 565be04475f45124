"""What all models have in common: a batch in, a distribution of the target out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from hepcalib.exceptions import ShapeError

if TYPE_CHECKING:
    from torch.distributions import Distribution

    from hepcalib.batch import Batch
    from hepcalib.models.heads import Head

__all__ = ["ONE_SIGMA", "Labelled", "Model", "checked", "described"]

ONE_SIGMA = 0.6826894921370859
"""Probability of a normal variable to be within one standard deviation of its mean."""


class Labelled(NamedTuple):
    """Rows with their targets, as `Model.finish` gets them."""

    batch: Batch  # transformed features
    target: Tensor  # (rows,)
    weight: Tensor | None = None  # (rows,)
    nuisance: Tensor | None = None  # (rows,) or (rows, variables)


class Model(nn.Module, ABC):
    """A network that returns the distribution of the target of each row of a batch.

    Constructor keywords are the configuration. ``constituent_modules`` names the submodules that
    act on constituents: a wrapper that draws weights has to give those of a jet the same ones.
    ``leading`` names the inputs that the first columns of the constituents have to be, if the model
    computes with them as angles, fractions or momenta.

    A training minimises ``loss(model(batch), target)`` and ``regulariser``, and calls ``finish``
    once at its end; a prediction is made from ``members`` and ``interval``.
    """

    head: Head
    constituent_modules: ClassVar[tuple[str, ...]] = ()
    leading: ClassVar[tuple[str, ...]] = ()

    @property
    @abstractmethod
    def config(self) -> dict[str, Any]:
        """Constructor keywords, as JSON can hold them."""

    @abstractmethod
    def outputs(self, batch: Batch) -> Tensor:
        """Return the raw numbers the head turns into a distribution, (rows, head.outputs)."""

    def forward(self, batch: Batch) -> Distribution:
        """Return the distribution of the target, batch shape (rows,).

        Models of several members that are trained together return (members, rows). In training it
        may be any object that ``loss`` understands.
        """
        distribution: Distribution = self.head(self.outputs(batch))
        return distribution

    def loss(self, predicted: Any, target: Tensor) -> Tensor:
        """Return what a training minimises, per row: minus the log-likelihood.

        Args:
            predicted: What ``forward`` returned, in training or in evaluation.
            target: (rows,).

        Returns:
            (rows,), or (members, rows) for members that are trained together.
        """
        loss: Tensor = -predicted.log_prob(target)
        return loss

    def weighted_loss(self, predicted: Any, target: Tensor, weight: Tensor | None) -> Tensor:
        """Return the loss of each row times its weight.

        Args:
            predicted: What ``forward`` returned.
            target: (rows,).
            weight: (rows,) of mean 1 over the training sample; None for 1.

        Returns:
            As ``loss``.
        """
        loss = self.loss(predicted, target)
        return loss if weight is None else loss * weight

    def regulariser(
        self, predicted: Any, target: Tensor, *, rows: int, weight: Tensor | None = None
    ) -> Tensor:
        """Return what is added to the mean loss of a batch, a scalar.

        Args:
            predicted: What ``forward`` returned.
            target: (rows of the batch,).
            rows: Number of training rows, over which a prior is shared out.
            weight: (rows of the batch,) of mean 1 over the training sample; None for 1.
        """
        del predicted, rows, weight
        return target.new_zeros(())

    def finish(self, training: Labelled, held_out: Labelled) -> None:
        """Fit what gradient descent does not learn; called once, in evaluation mode.

        Args:
            training: The rows that were learnt from.
            held_out: The rows that have chosen the epoch.
        """

    def member_outputs(self, batch: Batch) -> Tensor:
        """Return the raw outputs of all members, (members, rows, head.outputs)."""
        return self.outputs(batch).unsqueeze(0)

    def members(self, batch: Batch) -> Distribution:
        """Return the distributions of all members, batch shape (members, rows)."""
        distribution: Distribution = self.head(self.member_outputs(batch))
        return distribution

    def interval(self, members: Distribution) -> tuple[Tensor, Tensor]:
        """Return the probabilities of the quantiles that bound the 68.27 % interval, (rows,) each.

        Args:
            members: What ``members`` returned; the quantiles are those of the pooled mixture.
        """
        device = members.mean.device
        tail = torch.full(
            members.batch_shape[1:], 0.5 * (1.0 - ONE_SIGMA), dtype=torch.float32, device=device
        )
        return tail, 1.0 - tail


def described(part: Model | Head) -> dict[str, Any]:
    """Return the name and the constructor keywords of a model or head."""
    return {"name": type(part).__name__, **part.config}


def checked(values: Tensor | None, width: int, *, model: Model, what: str) -> Tensor:
    """Return the inputs in the dtype of the model, once they have the width it was built for.

    Raises:
        ShapeError: if the inputs are absent or of another width.
    """
    if values is None or values.dim() != 2 or values.shape[1] != width:
        seen = "none" if values is None else f"shape {tuple(values.shape)}"
        msg = f"{type(model).__name__}: {what} of the batch: {seen}; needed: (..., {width})"
        raise ShapeError(msg)
    return values.to(next(model.parameters()).dtype)
