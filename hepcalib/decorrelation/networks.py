"""The small network of a decorrelator: its fit, and its weights as numbers."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from hepcalib.exceptions import ConfigError, TrainingError
from hepcalib.settings import own_settings, seeded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = ["Descent", "descend", "evaluated", "flattened", "network", "restored"]

_BLOCK = 65_536  # rows of an evaluation


class Descent(NamedTuple):
    """How a network is fitted; the learning rate falls as half a cosine."""

    epochs: int = 30
    batch_size: int = 2048
    learning_rate: float = 5e-3
    seed: int = 0

    def checked(self, where: str) -> Descent:
        """Return itself.

        Raises:
            ConfigError: if a number is out of range.
        """
        if min(self.epochs, self.batch_size) < 1 or self.learning_rate <= 0 or self.seed < 0:
            msg = f"{where}: {self}; needed: at least 1 epoch and row, positive rate, seed >= 0"
            raise ConfigError(msg)
        return self


def network(inputs: int, hidden: Sequence[int], outputs: int, *, seed: int) -> nn.Sequential:
    """Return a network of SiLU layers in double precision, its last layer at 0."""
    with own_settings(), seeded(seed):
        layers: list[nn.Module] = []
        for before, after in pairwise([inputs, *hidden]):
            layers += [nn.Linear(before, after), nn.SiLU()]
        last = nn.Linear([inputs, *hidden][-1], outputs)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(*layers, last).double()


@own_settings(gradients=True)
def descend(
    net: nn.Sequential,
    loss: Callable[[Tensor, Tensor], Tensor],
    *,
    inputs: Floats,
    targets: Floats,
    weight: Floats,
    how: Descent,
) -> nn.Sequential:
    """Fit a network to the weighted mean of a loss(outputs, targets) per row.

    Raises:
        TrainingError: if the loss is not finite.
    """
    x, y, w = (torch.from_numpy(np.ascontiguousarray(part)) for part in (inputs, targets, weight))
    w = w / w.mean()
    steps = how.epochs * -(-len(x) // how.batch_size)
    optimizer = torch.optim.Adam(net.parameters(), lr=how.learning_rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator = torch.Generator().manual_seed(how.seed)
    for epoch in range(how.epochs):
        order = torch.randperm(len(x), generator=generator)
        for rows in order.tensor_split(-(-len(x) // how.batch_size)):
            value = (w[rows] * loss(net(x[rows]), y[rows])).mean()
            if not bool(torch.isfinite(value)):
                msg = f"the loss is {value.item()} in epoch {epoch + 1}; lower the learning rate"
                raise TrainingError(msg)
            optimizer.zero_grad()
            torch.autograd.backward(value)
            optimizer.step()
            schedule.step()
    return net


@own_settings()
def evaluated(
    net: nn.Sequential,
    function: Callable[[Tensor, Tensor], Tensor],
    *,
    inputs: Floats,
    targets: Floats,
) -> Floats:
    """Return function(outputs, targets) of all rows, in blocks."""
    parts = [np.empty(0)]
    with torch.no_grad():
        for start in range(0, len(inputs), _BLOCK):
            rows = slice(start, start + _BLOCK)
            x, y = (torch.from_numpy(np.ascontiguousarray(a[rows])) for a in (inputs, targets))
            parts.append(function(net(x), y).numpy())
    return np.concatenate(parts)


def flattened(net: nn.Sequential) -> Floats:
    """Return all weights as one array."""
    vector = torch.nn.utils.parameters_to_vector(net.parameters())
    return np.asarray(vector.detach().numpy(), dtype=np.float64)


def restored(inputs: int, hidden: Sequence[int], outputs: int, *, weights: Floats) -> nn.Sequential:
    """Return the network that had these weights.

    Raises:
        ConfigError: if their number does not fit.
    """
    needed = sum((before + 1) * after for before, after in pairwise([inputs, *hidden, outputs]))
    if len(weights) != needed:
        msg = f"a network {inputs}-{list(hidden)}-{outputs} with {len(weights)} weights: {needed}"
        raise ConfigError(msg)
    net = network(inputs, hidden, outputs, seed=0)
    torch.nn.utils.vector_to_parameters(torch.from_numpy(weights.copy()), net.parameters())
    return net
