"""What the wrappers that make a model uncertain have in common."""

from __future__ import annotations

import copy
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from hepcalib.exceptions import ConfigError
from hepcalib.models.model import Model

if TYPE_CHECKING:
    from torch import Tensor
    from torch.distributions import Distribution

    from hepcalib.batch import Batch
    from hepcalib.models.model import Labelled

__all__ = [
    "Wrapper",
    "keyed_generator",
    "linear_layers",
    "require_draws",
    "require_memory",
    "require_plain",
]

MOST_DRAWS = 4096
MOST_NUMBERS = 1 << 28  # of all draws together: 1 GiB in single precision


class Wrapper(Model):
    """A model that holds another one, a copy of its argument, and does as that one does."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = copy.deepcopy(model)
        self.head = self.model.head

    def outputs(self, batch: Batch) -> Tensor:
        """Return the raw outputs of the wrapped model, (rows, head.outputs)."""
        return self.model.outputs(batch)

    def forward(self, batch: Batch) -> Distribution:
        """Return the distribution that the wrapped model returns."""
        distribution: Distribution = self.model(batch)
        return distribution

    def loss(self, predicted: Any, target: Tensor) -> Tensor:
        """Return the loss per row of the wrapped model."""
        return self.model.loss(predicted, target)

    def weighted_loss(self, predicted: Any, target: Tensor, weight: Tensor | None) -> Tensor:
        """Return the weighted loss per row of the wrapped model."""
        return self.model.weighted_loss(predicted, target, weight)

    def regulariser(
        self, predicted: Any, target: Tensor, *, rows: int, weight: Tensor | None = None
    ) -> Tensor:
        """Return the regulariser of the wrapped model, a scalar."""
        return self.model.regulariser(predicted, target, rows=rows, weight=weight)

    def finish(self, training: Labelled, held_out: Labelled) -> None:
        """Fit what the wrapped model does not learn by descent."""
        self.model.finish(training, held_out)


def keyed_generator(*key: int) -> torch.Generator:
    """Return a generator, on the CPU, whose numbers depend on the key only."""
    seed = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0])
    return torch.Generator(device="cpu").manual_seed(seed)


def linear_layers(model: Model) -> dict[str, nn.Linear]:
    """Return the plain linear layers by name, in the order of their registration, each once."""
    return {name: part for name, part in model.named_modules() if type(part) is nn.Linear}


def acts_on_constituents(model: Model, path: str) -> bool:
    """Tell whether a layer belongs to what a model, or one inside it, applies to constituents."""
    module: nn.Module = model
    for name in path.split("."):
        if isinstance(module, Model) and name in module.constituent_modules:
            return True
        module = getattr(module, name)
    return False


def require_plain(model: Model, wrapper: str) -> None:
    """Refuse a model that has members of its own: the wrapper would ignore them.

    Raises:
        ConfigError: if it has.
    """
    kind = type(model)
    own = (kind.members, kind.member_outputs)
    if own != (Model.members, Model.member_outputs):
        msg = f"{wrapper}: {kind.__name__} has members of its own; needed: a plain model"
        raise ConfigError(msg)


def require_draws(draws: Any, seed: Any, wrapper: str) -> None:
    """Refuse a number of draws or a seed that is out of range.

    Raises:
        ConfigError: if it is.
    """
    whole = isinstance(draws, Integral) and isinstance(seed, Integral)
    if not whole or not 1 <= draws <= MOST_DRAWS or seed < 0:
        msg = (
            f"{wrapper}: draws is {draws}, seed {seed}; needed: whole numbers, 1 to "
            f"{MOST_DRAWS:,}, at least 0"
        )
        raise ConfigError(msg)


def require_memory(draws: int, weights: int, wrapper: str) -> None:
    """Refuse draws of so many weights that they would take more than 1 GiB.

    Raises:
        ConfigError: if they would.
    """
    if draws * weights > MOST_NUMBERS:
        msg = (
            f"{wrapper}: {draws:,} draws of {weights:,} weights are {draws * weights:,} numbers; "
            f"needed: at most {MOST_NUMBERS:,}"
        )
        raise ConfigError(msg)
