"""How far a training has come: all that its next step depends on."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from hepcalib.exceptions import DocumentError
from hepcalib.training.history import Epoch, History
from hepcalib.training.stored import is_count, require_alike, require_numbers

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from hepcalib.training.descent import Descent
    from hepcalib.training.objective import Objective, Terms
    from hepcalib.training.order import Order
    from hepcalib.training.stored import Parts

__all__ = ["Means", "State"]

# Of a file: a number, the name of a tensor or an epoch, and everything else [bytes].
_BYTES, _NAMES, _REST = 8, 1024, 1 << 20


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

    def state_dict(self) -> Parts:
        """Return all of it, part by part, as tensors and plain values by name."""
        penalty = self.objective.penalty
        on_gpu = {"cuda": torch.cuda.get_rng_state()} if self._on_cuda else {}
        return {
            "model": self.objective.model.state_dict(),
            "head": {"steps": self.objective.model.head.steps},
            "penalty": {} if penalty is None else penalty.state_dict(),
            "descent": self.descent.state_dict(),
            "history": {"epochs": [list(epoch) for epoch in self.history]},
            "best": self.best,
            "step": {"taken": self.step},
            "means": self.means._asdict(),
            "order": {"generator": self._drawn_from},
            "random": {"cpu": torch.get_rng_state(), **on_gpu},
        }

    def load_state_dict(self, found: Mapping[str, Mapping[str, Any]]) -> None:
        """Go on from a state that `state_dict` has returned, on this device or another.

        Raises:
            DocumentError: if it cannot be that of this training; which is then not usable.
        """
        penalty = self.objective.penalty
        parts: Parts = defaultdict(dict, {part: dict(own) for part, own in found.items()})
        on_gpu = parts["random"].pop("cuda", None)
        own = {"model": self.best, "best": self.best}
        own["penalty"] = {} if penalty is None else penalty.state_dict()
        own["order"] = {"generator": self._drawn_from}
        own["random"] = {"cpu": torch.get_rng_state()}
        for part, needed in own.items():
            require_alike(parts[part], needed, part)
        steps, history, step, means = self._figures(parts)
        self.descent.load_state_dict(parts["descent"])
        self._set_generators(parts, on_gpu)
        self.objective.model.load_state_dict(parts["model"])
        self.objective.model.head.steps = steps
        if penalty is not None:
            penalty.load_state_dict(parts["penalty"])
        self.history, self.step, self.means = history, step, means
        self.best = {name: value.to(self._device) for name, value in parts["best"].items()}

    @property
    def largest(self) -> int:
        """The most bytes that a state of this training takes in a file."""
        penalty = self.objective.penalty
        tensors = [*self.best.values(), *([] if penalty is None else penalty.state_dict().values())]
        # The weights, the best ones, and two means of the gradients.
        numbers: int = 4 * sum(_BYTES * tensor.numel() + _NAMES for tensor in tensors)
        return _REST + numbers + _NAMES * self.order.epochs

    def _figures(self, parts: Parts) -> tuple[int, History, int, Means]:
        """Return the steps of the head, the history, the step in the epoch, and its means."""
        rows = parts["history"].get("epochs")
        if not isinstance(rows, list) or len(rows) > self.order.epochs:
            msg = f"history: needed: a list of at most {self.order.epochs} epochs"
            raise DocumentError(msg)
        epochs = [require_numbers(row, len(Epoch._fields), "history") for row in rows]
        for number, epoch in enumerate(epochs, start=1):
            if epoch[0] != number:
                msg = f"history: epoch {epoch[0]} in the place of {number}"
                raise DocumentError(msg)
        steps, taken = parts["head"].get("steps"), parts["step"].get("taken")
        if not is_count(steps, math.inf) or not is_count(taken, self.order.steps_per_epoch):
            msg = f"step: {taken}, head: {steps}; needed: steps of an epoch, and of all"
            raise DocumentError(msg)
        means = require_numbers([parts["means"].get(n) for n in Means._fields], 3, "means")
        history = History(Epoch(int(number), *rest) for number, *rest in epochs)
        return steps or 0, history, taken or 0, Means(*means)

    def _set_generators(self, parts: Parts, on_gpu: Tensor | None) -> None:
        try:
            self.order.state = self._drawn_from = parts["order"]["generator"]
            torch.set_rng_state(parts["random"]["cpu"])
            if self._on_cuda and on_gpu is not None:
                torch.cuda.set_rng_state(on_gpu)
        except (RuntimeError, TypeError, AttributeError) as error:
            msg = f"random: no state of a generator: {error}"
            raise DocumentError(msg) from error

    @property
    def _device(self) -> torch.device:
        return next(self.objective.model.parameters()).device

    @property
    def _on_cuda(self) -> bool:
        return self._device.type == "cuda"


def _copied(model: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}
