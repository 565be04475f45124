"""In which order a training sees its examples."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from hepcalib.training.options import TrainingOptions

__all__ = ["Order"]


class Order:
    """The rows of each step, drawn anew in each epoch.

    Args:
        rows: Number of examples.
        options: Options of the training: seed, epochs, size of the batches and least steps.
    """

    def __init__(self, rows: int, options: TrainingOptions) -> None:
        self.rows = rows
        self.steps_per_pass = math.ceil(rows / options.batch_size)
        fewest = self.steps_per_pass * options.epochs
        self.passes = max(1, math.ceil(options.min_steps / fewest))
        self.epochs, self.steps_per_epoch = options.epochs, self.passes * self.steps_per_pass
        self.steps = self.passes * fewest  # of all epochs
        self._generator = torch.Generator().manual_seed(options.seed)

    @property
    def state(self) -> Tensor:
        """What the next epoch is drawn from."""
        return self._generator.get_state()

    @state.setter
    def state(self, state: Tensor) -> None:
        self._generator.set_state(state)

    def batches(self) -> list[Tensor]:
        """Return the rows of each step of the next epoch."""
        orders = (torch.randperm(self.rows, generator=self._generator) for _ in range(self.passes))
        return [batch for order in orders for batch in order.tensor_split(self.steps_per_pass)]
