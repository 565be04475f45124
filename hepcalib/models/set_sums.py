"""Sums over sets of what a network makes of each item, in blocks that stay in the cache."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

import torch
from torch import nn

from hepcalib.models.stacked_layers import IN_PLACE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

__all__ = ["set_sums"]

# Items of a block. A GPU wants few large products; the limit is its memory.
CPU_BLOCK, GPU_BLOCK = 1024, 1_048_576


def set_sums(
    network: nn.Sequential, values: Tensor, offsets: Tensor, *, weights: Tensor | None = None
) -> Tensor:
    r"""Return the sum over the items of each row of the network's outputs; 0 for an empty row.

    .. math:: \sum_i w_i \Phi(x_i)

    For use where no gradient is needed. Plain layers are evaluated on the CPU in memory that is
    used again for each block, which takes 10 to 15 % less time than new memory. Sums are
    accumulated in single precision at least.

    Args:
        network: Phi, which acts on each item for itself.
        values: The items of all rows, one after the other.
        offsets: Where each row begins and the last one ends, from 0; at least one row.
        weights: Factor w of each item; None for 1.

    Shapes:
        values: (items, inputs); offsets: (rows + 1,) int64; weights: (items, 1) -> (rows, outputs)
    """
    rows = len(offsets) - 1
    ids = torch.arange(rows, device=offsets.device)
    ids = ids.repeat_interleave(offsets.diff(), output_size=len(values))
    layers = _plain_layers(network, values)
    if layers:
        return _plain_sums(layers, values, ids, rows, weights=weights)
    sums = []
    for start, stop, first, last in _blocks(values, offsets):
        latent = _latent(network, values[first:last])
        if latent.dtype in {torch.bfloat16, torch.float16}:
            latent = latent.float()
        if weights is not None:
            latent = latent * weights[first:last]
        zeros = latent.new_zeros(stop - start, latent.shape[1])
        sums.append(zeros.index_add(0, ids[first:last] - start, latent))
    return torch.cat(sums)


def _blocks(values: Tensor, offsets: Tensor) -> Iterator[tuple[int, int, int, int]]:
    """Yield rows [start, stop) and their items [first, last); at least one row, maybe empty."""
    rows, limit = len(offsets) - 1, CPU_BLOCK if values.is_cpu else GPU_BLOCK
    if len(values) <= limit:  # where the rows are on a GPU does not matter, and takes long to ask
        yield 0, rows, 0, len(values)
        return
    edges = offsets.tolist()
    start = 0
    while start < rows:
        stop = max(start + 1, bisect_right(edges, edges[start] + limit) - 1)
        yield start, stop, edges[start], edges[stop]
        start = stop


def _latent(network: nn.Sequential, values: Tensor) -> Tensor:
    """Apply the layers; what a linear layer returned belongs to nobody else."""
    fresh = False
    for layer in network:
        activation = IN_PLACE.get(type(layer)) if fresh else None
        values = layer(values) if activation is None else activation(values)
        fresh = type(layer) is nn.Linear
    return values


# Transposed weight (inputs, outputs), bias, activation.
_Layer = tuple["Tensor", "Tensor", "Callable[[Tensor], Tensor]"]


def _plain_layers(network: nn.Sequential, values: Tensor) -> list[_Layer]:
    """Return pairs of a linear layer and an activation; none if the network is not made of these.

    Nor are there any where parameters are replaced by others for the time of a call, where numbers
    of other types are computed with, or where the layers are compiled.
    """
    if (
        not values.is_cpu
        or torch.is_autocast_enabled("cpu")
        or torch.compiler.is_compiling()
        or len(network) % 2
    ):
        return []
    found: list[_Layer] = []
    parts = list(network)
    for linear, activation in zip(parts[::2], parts[1::2], strict=True):
        if (
            type(linear) is not nn.Linear
            or type(activation) not in IN_PLACE
            or not isinstance(linear.weight, nn.Parameter)
            or not isinstance(linear.bias, nn.Parameter)
        ):
            return []
        found.append((linear.weight.t(), linear.bias, IN_PLACE[type(activation)]))
    return found


def _plain_sums(
    layers: list[_Layer], values: Tensor, ids: Tensor, rows: int, *, weights: Tensor | None
) -> Tensor:
    """Return the sums by row number; two buffers take turns, one is read and the other written."""
    widths = [weight.shape[1] for weight, _, _ in layers]
    block = min(CPU_BLOCK, max(1, len(values)))
    memory = values.new_empty(2, block * max(widths))
    buffers = [
        memory[number % 2, : block * width].view(block, width)
        for number, width in enumerate(widths)
    ]
    sums = values.new_zeros(rows, widths[-1])
    for first in range(0, len(values), block):  # rows may go on in the next block
        latent = values[first : first + block]
        for (weight, bias, activation), buffer in zip(layers, buffers, strict=True):
            latent = torch.addmm(bias, latent, weight, out=buffer[: len(latent)])
            latent = activation(latent)
        if weights is not None:
            latent.mul_(weights[first : first + block])
        sums.index_add_(0, ids[first : first + block], latent)
    return sums
