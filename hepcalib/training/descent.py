"""Steps down the gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from hepcalib.exceptions import DocumentError
from hepcalib.training.options import learning_rate_factor
from hepcalib.training.stored import is_count, require_alike

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from hepcalib.training.objective import Objective
    from hepcalib.training.options import TrainingOptions

__all__ = ["Descent"]

MEANS = ("step", "exp_avg", "exp_avg_sq")  # what AdamW keeps of each parameter


class Descent:
    """Steps of AdamW, with the learning rate of the schedule.

    Args:
        objective: What is minimised; a penalty with parameters learns at its own, constant rate.
        options: Options of the training.
        steps: All steps of the training, over which the schedule extends.
    """

    def __init__(self, objective: Objective, options: TrainingOptions, *, steps: int) -> None:
        self.options, self.steps = options, steps
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
        self._factors = factors
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
        """Return the steps taken, and the means of the gradients of each parameter that has any."""
        found: dict[str, Any] = {"taken": self._schedule.last_epoch}
        for number, means in self._optimizer.state_dict()["state"].items():
            found |= {f"{number}.{name}": value for name, value in means.items()}
        return found

    def load_state_dict(self, found: Mapping[str, Any]) -> None:
        """Go on from a state that `state_dict` has returned.

        Raises:
            DocumentError: if it is not that of such parameters.
        """
        given = self._optimizer.state_dict()
        sizes = [part for group in self._optimizer.param_groups for part in group["params"]]
        means: dict[int, dict[str, Any]] = {}
        for number, parameter in enumerate(sizes):
            own = {name: found.get(f"{number}.{name}") for name in MEANS}
            if any(value is not None for value in own.values()):
                needed = (parameter.new_zeros(()).float(), parameter, parameter)
                require_alike(own, dict(zip(MEANS, needed, strict=True)), f"descent {number}")
                means[number] = own
        taken = found.get("taken")
        if len(found) != 1 + len(MEANS) * len(means) or not is_count(taken, self.steps):
            msg = f"descent: {taken} steps of {self.steps}, of {len(means)} parameters"
            raise DocumentError(msg)
        self._optimizer.load_state_dict({**given, "state": means})
        self._schedule.load_state_dict({**self._schedule.state_dict(), "last_epoch": taken})
        for group, factor in zip(self._optimizer.param_groups, self._factors, strict=True):
            group["lr"] = group["initial_lr"] * factor(taken)  # type: ignore[no-untyped-call]  # torch has no types for it
