"""How far a training has come: all that its next step depends on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from hepcalib.training.history import Epoch, History

if TYPE_CHECKING:
    from torch import Tensor

    from hepcalib.training.descent import Descent
    from hepcalib.training.objective import Objective, Terms
    from hepcalib.training.order import Order

__all__ = ["Means", "State"]


class Means(NamedTuple):
    """Means of the terms of the loss over the steps of an epoch, as far as they are taken."""

    nll: float = 0.0
    regulariser: float = 0.0
    penalty: float = 0.0

    def plus(self, terms: Terms, *, share: float) -> Means:
        """Add a step with this share of the rows of the epoch."""
        new = (terms.nll.item(), terms.regulariser.item(), terms.penalty.item())
        return Means(*(old + share * value for old, value in zip(self, new, strict=True)))


class State:
    """Modules, optimiser, random numbers and figures of a training, between two steps.

    Args:
        objective: The model and its penalty.
        descent: What moves their parameters.
        order: The rows of each step.
    """

    def __init__(self, objective: Objective, descent: Descent, order: Order) -> None:
        self.objective = objective
        self.descent = descent
        self.order = order
        self.history = History()
        self.best = _copied(objective.model)
        self.step = 0  # steps taken in the present epoch
        self.means = Means()
        self._drawn_from = order.state  # the batches of the present epoch

    def batches(self) -> list[Tensor]:
        """Return the rows of each step of the present epoch."""
        self.order.state = self._drawn_from
        return self.order.batches()

    def stepped(self, terms: Terms, *, share: float) -> None:
        """Count a step with this share of the rows of the epoch."""
        self.step += 1
        self.means = self.means.plus(terms, share=share)

    def finished(self, epoch: Epoch) -> None:
        """Take the figures of the present epoch, keep its weights if they are the best, go on."""
        self.history = History((*self.history, epoch))
        if self.history.best is epoch:
            self.best = _copied(self.objective.model)
        self.step, self.means, self._drawn_from = 0, Means(), self.order.state

    def state_dict(self) -> dict[str, Any]:
        """Return all of it as tensors and plain values."""
        penalty = self.objective.penalty
        return {
            "model": self.objective.model.state_dict(),
            "head": self.objective.model.head.steps,
            "penalty": {} if penalty is None else penalty.state_dict(),
            "descent": self.descent.state_dict(),
            "history": [tuple(epoch) for epoch in self.history],
            "best": self.best,
            "step": self.step,
            "means": tuple(self.means),
            "order": self._drawn_from,
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state() if self._on_cuda else None,
        }

    def load_state_dict(self, found: dict[str, Any]) -> None:
        """Go on from a state that `state_dict` has returned, on this device or another."""
        self.objective.model.load_state_dict(found["model"])
        self.objective.model.head.steps = found["head"]
        if self.objective.penalty is not None:
            self.objective.penalty.load_state_dict(found["penalty"])
        self.descent.load_state_dict(found["descent"])
        self.history = History(Epoch(*epoch) for epoch in found["history"])
        self.best = {name: value.to(self._device) for name, value in found["best"].items()}
        self.step, self.means = found["step"], Means(*found["means"])
        self._drawn_from = found["order"]
        torch.set_rng_state(found["random"])
        if self._on_cuda and found["random_cuda"] is not None:
            torch.cuda.set_rng_state(found["random_cuda"])

    @property
    def _device(self) -> torch.device:
        return next(self.objective.model.parameters()).device

    @property
    def _on_cuda(self) -> bool:
        return self._device.type == "cuda"


def _copied(model: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}
