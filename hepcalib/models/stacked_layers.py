"""Stacked linear layers without gradients, in blocks whose activations stay in the cache."""

from __future__ import annotations

from functools import partial
from itertools import repeat
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional

from hepcalib.models.products import NARROW

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence


__all__ = ["CACHED", "FixedParameters", "StackedLayers", "at_a_time", "chunked"]

# Numbers of a layer that stay in the cache of a processor core: a quarter of a MiB.
CACHED = 65_536

# Rows of a block, and numbers in its widest layer. Measured on one CPU thread for 50 networks of 64
# units, where it is 1024 rows of 1 network. A GPU wants few large products.
CPU_BLOCK, GPU_BLOCK = (1024, CACHED), (262_144, 134_217_728)

IN_PLACE: Mapping[type[nn.Module], Callable[[Tensor], Tensor]] = {
    nn.ReLU: torch.relu_,
    nn.SiLU: partial(functional.silu, inplace=True),
    nn.Tanh: torch.tanh_,
}


class _Layer(NamedTuple):
    """A linear layer of all networks and the activations that follow it."""

    weight: Tensor  # (networks, inputs, outputs)
    bias: Tensor  # (networks, 1, outputs), or (1, outputs) common to all
    activations: tuple[Callable[[Tensor], Tensor], ...]

    def transposed(self) -> _Layer:
        """Return the layer for the transposed product, weight @ inputs.mT."""
        return self._replace(weight=self.weight.mT, bias=self.bias.mT)


# The same of some of the networks; of a single one without the first axis.
_Step: TypeAlias = "tuple[Tensor, Tensor, tuple[Callable[[Tensor], Tensor], ...]]"


class _Steps(NamedTuple):
    """The layers of some of the networks."""

    hidden: tuple[_Step, ...]
    last: _Step


class StackedLayers:
    """Linear layers of many networks and the activations between them, for use without gradients.

    Args:
        network: Linear layers and activations, in order; a linear layer comes first.
        parameters: Stacked values; what is not there is that of the network, common to all.
        prefix: What the names of the parameters begin with.

    Shapes:
        parameters: (networks, ...)
    """

    def __init__(
        self, network: nn.Module, parameters: Mapping[str, Tensor], *, prefix: str
    ) -> None:
        self.layers = _layers(network, parameters, prefix)
        self.networks, _, self.width = self.layers[-1].weight.shape
        self.widest = max(layer.weight.shape[2] for layer in self.layers)
        self.transposed = self.width < NARROW
        if self.transposed:
            self.layers[-1] = self.layers[-1].transposed()
        self._known: dict[int, list[_Steps]] = {}

    def __call__(self, values: Tensor) -> Tensor:
        """Return the outputs of all networks, for inputs of their own or common to them.

        Shapes:
            values: (rows, inputs) or (networks, rows, inputs) -> (networks, rows, outputs)
        """
        total = values.shape[-2]
        rows, limit = CPU_BLOCK if values.is_cpu else GPU_BLOCK
        rows = max(1, min(rows, total))
        together = at_a_time(self.networks, rows * self.widest, limit)
        memory = values.new_empty(2, together * rows * self.widest)
        workspace = _Workspace(self.layers[:-1], memory)
        shape = (self.width, total) if self.transposed else (total, self.width)
        outputs = values.new_empty(self.networks, *shape)
        product = torch.addmm if together == 1 else _batched
        chunks = self._steps(together)
        for start in range(0, total, rows):
            part = slice(start, start + rows)
            blocks = self._blocks(values[..., part, :], together)
            target = outputs[:, :, part] if self.transposed else outputs[:, part]
            for steps, block, into in zip(chunks, blocks, chunked(target, together), strict=True):
                latent, buffers = block, workspace.buffers(block)
                for (weight, bias, activations), buffer in zip(steps.hidden, buffers, strict=True):
                    latent = product(bias, latent, weight, out=buffer)
                    for activation in activations:
                        latent = activation(latent)
                weight, bias, activations = steps.last
                left, right = (weight, latent.mT) if self.transposed else (latent, weight)
                product(bias, left, right, out=into)
                for activation in activations:
                    into.copy_(activation(into))
        return outputs.mT if self.transposed else outputs

    def _blocks(self, values: Tensor, together: int) -> Iterable[Tensor]:
        """Return the inputs for so many networks at a time."""
        if values.dim() == 2 and together == 1:
            return repeat(values, self.networks)
        return chunked(values.expand(self.networks, *values.shape[-2:]), together)

    def _steps(self, together: int) -> list[_Steps]:
        """Return the layers for so many networks at a time, and then the next ones.

        They are kept: to make the view of a matrix takes as long as to multiply a few rows by it.
        """
        if together not in self._known:
            steps = (_steps(layer, together) for layer in self.layers)
            self._known[together] = [
                _Steps(chunk[:-1], chunk[-1]) for chunk in zip(*steps, strict=True)
            ]
        return self._known[together]


class FixedParameters(dict[str, Tensor]):
    """Stacked values by the names of the parameters, which stay as they are."""

    def __init__(self, values: Mapping[str, Tensor]) -> None:
        super().__init__(values)
        self._prepared: dict[str, StackedLayers] = {}

    def layers(self, network: nn.Module, *, prefix: str) -> StackedLayers:
        """Return the layers of a network, made once."""
        if prefix not in self._prepared:
            self._prepared[prefix] = StackedLayers(network, self, prefix=prefix)
        return self._prepared[prefix]


def at_a_time(networks: int, numbers: int, limit: int) -> int:
    """Return how many networks, of so many numbers each, keep to a limit; at least one."""
    return max(1, min(networks, limit // max(1, numbers)))


def chunked(values: Tensor, together: int) -> Sequence[Tensor]:
    """Return the values of so many networks at a time; of single ones without the first axis."""
    return torch.unbind(values) if together == 1 else torch.split(values, together)


def _steps(layer: _Layer, together: int) -> Iterable[_Step]:
    """Return the layer for each of these chunks."""
    weights, bias = chunked(layer.weight, together), layer.bias
    biases = repeat(bias, len(weights)) if bias.dim() == 2 else chunked(bias, together)
    return zip(weights, biases, repeat(layer.activations, len(weights)), strict=True)


class _Workspace:
    """Memory for the activations: two buffers take turns, one is read and the other written."""

    def __init__(self, layers: Sequence[_Layer], memory: Tensor) -> None:
        self.widths, self.memory = [layer.weight.shape[2] for layer in layers], memory
        self.known: dict[torch.Size, list[Tensor]] = {}

    def buffers(self, block: Tensor) -> list[Tensor]:
        """Return one for each layer, (networks, rows, outputs) or (rows, outputs)."""
        shape = block.shape
        if shape not in self.known:
            self.known[shape] = [
                self.memory[number % 2, : shape[:-1].numel() * width].view(*shape[:-1], width)
                for number, width in enumerate(self.widths)
            ]
        return self.known[shape]


def _layers(network: nn.Module, parameters: Mapping[str, Tensor], prefix: str) -> list[_Layer]:
    """Return the layers; what the networks have in common is repeated, not copied."""
    networks = len(next(iter(parameters.values())))
    found: list[_Layer] = []
    for name, layer in network.named_modules(prefix=prefix):
        if isinstance(layer, nn.Linear):
            weight = parameters.get(f"{name}.weight", layer.weight)
            own: Tensor | None = layer.bias
            bias = parameters.get(f"{name}.bias", own)
            if bias is None:
                bias = weight.new_zeros(weight.shape[-2])
            found.append(
                _Layer(
                    weight.expand(networks, *weight.shape[-2:]).mT,
                    bias.unsqueeze(-2),
                    (),
                )
            )
        elif not isinstance(layer, nn.Sequential):
            last = found[-1]
            activation = IN_PLACE.get(type(layer), layer)
            found[-1] = last._replace(activations=(*last.activations, activation))
    return found


def _batched(bias: Tensor, left: Tensor, right: Tensor, *, out: Tensor) -> Tensor:
    """Return bias + left @ right of many networks; torch.baddbmm copies an expanded bias twice."""
    return out.copy_(bias).baddbmm_(left, right)
