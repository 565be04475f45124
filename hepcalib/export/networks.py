"""The networks behind a trained model: one, or many that differ in their weights only."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from torch import nn

from hepcalib.exceptions import ConfigError
from hepcalib.models import MLP, DeepEnsemble, Model
from hepcalib.models.layers import ACTIVATIONS
from hepcalib.models.mean_field import MeanFieldLinear

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

__all__ = ["Affine", "Members", "Network", "mean_network", "member_networks"]


class Affine(NamedTuple):
    """A linear layer: weight (outputs, inputs), bias (outputs,)."""

    weight: NDArray[np.float32]
    bias: NDArray[np.float32] | None


Network: TypeAlias = tuple["Affine | nn.Module", ...]
"""Layers one after the other, linear ones and activations."""


class Members(NamedTuple):
    """The members of a model, and whether component k means the same in all of them."""

    networks: tuple[Network, ...]
    aligned: bool


def mean_network(model: Model) -> Network:
    """Return the network of the mean weights, which is all there is to a plain model.

    Raises:
        ConfigError: if there is none, as in an ensemble, or it is no multi-layer perceptron.
    """
    for wrapper in _wrappers(model):
        if isinstance(wrapper, DeepEnsemble):
            msg = f"a {type(wrapper).__name__} has no mean weights; needed: draws='frozen'"
            raise ConfigError(msg)
    return _network(_innermost(model), {}, 0)


def member_networks(model: Model) -> Members:
    """Return the network of each weight draw, or of each member of an ensemble.

    Raises:
        ConfigError: if they are no multi-layer perceptrons.
    """
    stacked: dict[str, Tensor] = {}
    aligned = True
    for wrapper in _wrappers(model):
        stacked = stacked or _stacked(wrapper)
        aligned = aligned and not isinstance(wrapper, DeepEnsemble)
    mlp = _innermost(model)
    count = len(next(iter(stacked.values()))) if stacked else 1
    return Members(tuple(_network(mlp, stacked, member) for member in range(count)), aligned)


def _wrappers(model: Model) -> Iterator[Model]:
    """Go through the models that are around the innermost one, and that one."""
    yield model
    inner = getattr(model, "model", None)
    if isinstance(inner, Model):
        yield from _wrappers(inner)


def _innermost(model: Model) -> MLP:
    *_, inner = _wrappers(model)
    if not isinstance(inner, MLP):
        msg = f"a {type(inner).__name__} cannot be exported; needed: an MLP, or a wrapper around it"
        raise ConfigError(msg)
    return inner


def _stacked(model: Model) -> dict[str, Tensor]:
    """Return the parameters that differ between members, (members, ...), by their names inside."""
    stacked: Callable[[], dict[str, Tensor]] | None = getattr(model, "stacked", None)
    return stacked() if stacked is not None else {}


def _network(model: MLP, stacked: Mapping[str, Tensor], member: int) -> Network:
    layers: list[Affine | nn.Module] = []
    for name, module in model.network.named_modules(prefix="network"):
        if isinstance(module, (nn.Linear, MeanFieldLinear)):
            layers.append(_affine(module, name, stacked, member))
        elif type(module) in ACTIVATIONS.values():
            layers.append(module)
        elif not isinstance(module, (nn.Sequential, nn.Dropout)):
            msg = f"MLP layer '{name}' is a {type(module).__name__}, which cannot be exported"
            raise ConfigError(msg)
    return tuple(layers)


def _affine(
    layer: nn.Linear | MeanFieldLinear, name: str, stacked: Mapping[str, Tensor], member: int
) -> Affine:
    parts: list[NDArray[np.float32] | None] = []
    for part in ("weight", "bias"):
        own: Tensor | None = getattr(layer, part)
        found = stacked.get(f"{name}.{part}")
        value = own if found is None else found[member]
        parts.append(None if value is None else value.detach().float().cpu().numpy())
    weight, bias = parts
    if weight is None:
        msg = f"MLP layer '{name}' has no weight"
        raise ConfigError(msg)
    return Affine(weight, bias)
