"""Several networks of one architecture, trained together, as a wrapper around any model."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from hepcalib.exceptions import ConfigError
from hepcalib.losses import reversed_gradient
from hepcalib.models.model import Model, described
from hepcalib.models.stacking import stacked_outputs
from hepcalib.models.wrapping import keyed_generator

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor
    from torch.distributions import Distribution

    from hepcalib.batch import Batch

__all__ = ["DeepEnsemble"]

MOST_MEMBERS = 1000
OF_ONE_NETWORK = ("forward", "regulariser", "finish", "member_outputs", "members", "interval")


class DeepEnsemble(Model):
    r"""Networks of one architecture that differ in their first weights, trained together.

    .. math:: loss = -\frac{1}{M B} \sum_{m b} \ln p(y_b | x_b, \theta_m)

    Parameters and buffers of the members are stacked, (members, ...) each, and all members see the
    same batches. In training, the gradient of each member is M times that of this mean: the one it
    has when trained alone, so that no option of the training depends on the number of members.

    ``forward`` and ``members`` give one distribution per member and row, in training and in
    evaluation; ``outputs`` are those of the first member, since a mean of the raw outputs of
    several networks means nothing.

    Reference: arXiv:1612.01474.

    Args:
        model: The architecture: any model of one network. Its weights are not used.
        members: Number M of networks.
        seed: Seed of the first weights; those of a member depend on it and the member's number.

    Raises:
        ConfigError: if there is not at least one member, the seed is negative, or the model has
            members or a training of its own.
    """

    def __init__(self, model: Model, *, members: int = 10, seed: int = 0) -> None:
        super().__init__()
        _check(model, members, seed, where=type(self).__name__)
        self.size, self.seed = members, seed
        fresh = [_fresh(model, seed, member) for member in range(members)]
        states = [_of_type(network.named_parameters(), model) for network in fresh]
        buffers = [_of_type(network.named_buffers(), model) for network in fresh]
        self.names, self.buffer_names = tuple(states[0]), tuple(buffers[0])
        # Not in `members`, which is a method.
        self.networks = nn.ParameterDict(
            {
                _key(name): nn.Parameter(torch.stack([state[name] for state in states]))
                for name in self.names
            }
        )
        self.statistics = nn.Module()
        for name in self.buffer_names:
            stacked = torch.stack([state[name] for state in buffers])
            self.statistics.register_buffer(_key(name), stacked)
        self.model = _without_values(model)
        self.head = self.model.head

    @property
    def config(self) -> dict[str, Any]:
        """Constructor keywords, as JSON can hold them."""
        return {"model": described(self.model), "members": self.size, "seed": self.seed}

    def forward(self, batch: Batch) -> Distribution:
        """Return the distributions of all members, batch shape (members, rows)."""
        return self.members(batch)

    def loss(self, predicted: Any, target: Tensor) -> Tensor:
        """Return the loss of each member and row, (members, rows)."""
        return self.model.loss(predicted, target)

    def outputs(self, batch: Batch) -> Tensor:
        """Return the raw outputs of the first member, (rows, head.outputs)."""
        first = {name: value[:1] for name, value in self.stacked().items()}
        buffers = {name: value[:1] for name, value in self.stacked_buffers().items()}
        return stacked_outputs(self.model, first, batch, buffers=buffers)[0]

    def member_outputs(self, batch: Batch) -> Tensor:
        """Return the raw outputs of all members, (members, rows, head.outputs)."""
        return stacked_outputs(self.model, self.stacked(), batch, buffers=self.stacked_buffers())

    def stacked(self) -> dict[str, Tensor]:
        """Return the parameters of all members, (members, ...), by their names in the model.

        In training their gradient is that of the sum over the members where the loss is the mean.
        """
        values = {name: self.networks[_key(name)] for name in self.names}
        if not self.training:
            return values
        # Reversed and negative: M times the gradient of the mean.
        return {
            name: reversed_gradient(value, strength=-self.size) for name, value in values.items()
        }

    def stacked_buffers(self) -> dict[str, Tensor]:
        """Return the buffers of all members, (members, ...), by their names in the model.

        Running values of a normalisation are buffers: each member has its own.
        """
        return {name: self.statistics.get_buffer(_key(name)) for name in self.buffer_names}


def _check(model: Model, members: float, seed: float, *, where: str) -> None:
    limits = (("members", members, 1, MOST_MEMBERS), ("seed", seed, 0, math.inf))
    for what, value, least, most in limits:
        if not isinstance(value, int) or not least <= value <= most:
            msg = f"{where}: {what} is {value!r}; needed: a whole number, at least {least}"
            msg += f", at most {most}" if most < math.inf else ""
            raise ConfigError(msg)
    own = [
        name for name in OF_ONE_NETWORK if getattr(type(model), name) is not getattr(Model, name)
    ]
    if own:
        msg = (
            f"{where}: {type(model).__name__} has its own {', '.join(own)}; "
            "needed: a model of one network that is trained by its likelihood"
        )
        raise ConfigError(msg)
    if next(model.parameters(), None) is None:
        msg = f"{where}: {type(model).__name__} has no parameters; needed: at least one"
        raise ConfigError(msg)


def _key(name: str) -> str:
    """Return the name of a parameter or buffer as one of a module may be."""
    return name.replace(".", "__")


def _fresh(model: Model, seed: int, member: int) -> Model:
    """Return a new model of the same constructor keywords."""
    keywords = model.config
    if "head" in keywords:
        keywords = {**keywords, "head": copy.deepcopy(model.head)}
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.set_state(keyed_generator(seed, member).get_state())
        return type(model)(**keywords)


def _of_type(values: Iterable[tuple[str, Tensor]], model: Model) -> dict[str, Tensor]:
    """Return the values where those of the model are, floats in its type."""
    like = next(model.parameters())
    return {
        name: value.detach().to(like.device, like.dtype if value.is_floating_point() else None)
        for name, value in values
    }


def _without_values(model: Model) -> Model:
    """Return a copy with the layers of a model only."""
    bare = copy.deepcopy(model)
    for module in bare.modules():
        for name, _ in list(module.named_parameters(recurse=False)):
            module.register_parameter(name, None)
        for name, _ in list(module.named_buffers(recurse=False)):
            module.register_buffer(name, None)
    return bare
