"""Steps down the gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from hepcalib.training.options import learning_rate_factor

if TYPE_CHECKING:
    from torch import Tensor

    from hepcalib.training.objective import Objective
    from hepcalib.training.options import TrainingOptions

__all__ = ["Descent"]


class Descent:
    """Steps of AdamW, with the learning rate of the schedule.

    Args:
        objective: What is minimised; a penalty with parameters learns at its own, constant rate.
        options: Options of the training.
        steps: All steps of the training, over which the schedule extends.
    """

    def __init__(self, objective: Objective, options: TrainingOptions, *, steps: int) -> None:
        self.options = options
        self._parameters = list(objective.model.parameters())
        groups: list[dict[str, Any]] = [{"params": self._parameters}]
        factors = [lambda step: learning_rate_factor(options.schedule, step / steps)]
        if objective.penalty is not None and options.penalty is not None:
            rate = options.penalty.learning_rate
            groups.append({"params": list(objective.penalty.parameters()), "lr": rate})
            factors.append(lambda _: 1.0)
        self._optimizer = torch.optim.AdamW(
            groups, lr=options.learning_rate, weight_decay=options.weight_decay
        )
        self._schedule = torch.optim.lr_scheduler.LambdaLR(self._optimizer, factors)

    def step(self, loss: Tensor) -> None:
        """Move all parameters against the gradient of a loss, a scalar."""
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch does not annotate it
        if self.options.gradient_clip is not None:
            torch.nn.utils.clip_grad_norm_(self._parameters, self.options.gradient_clip)
        self._optimizer.step()
        self._schedule.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the means of the gradients and the place in the schedule."""
        return {
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
        }

    def load_state_dict(self, found: dict[str, Any]) -> None:
        """Go on from a state that `state_dict` has returned."""
        self._optimizer.load_state_dict(found["optimizer"])
        self._schedule.load_state_dict(found["schedule"])
