"""The edge convolution: a network over pairs of an item and its neighbours, averaged over these."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import nn

from hepcalib.models.normalisation import BatchNorm, normalised

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

__all__ = ["EdgeConv", "Edges"]


class Edges(NamedTuple):
    """Pairs of an item and a neighbour, packed: all of them are real."""

    neighbour: Tensor  # (pairs,) int64
    item: Tensor | None  # (pairs,) int64; None: as often as it takes, all items in order
    counts: Tensor  # (items,) int64, pairs of each item

    def sum(self, own: Tensor, other: Tensor) -> Tensor:
        """Return for each pair the value of its item plus that of its neighbour, (pairs, F)."""
        others = other.index_select(0, self.neighbour)
        if self.item is None:
            return (others.view(-1, *own.shape) + own).view_as(others)
        return others + own.index_select(0, self.item)

    def mean(self, values: Tensor) -> Tensor:
        """Return the mean over the pairs of each item, (pairs, F) -> (items, F); 0 for none."""
        if self.item is None:
            return values.view(-1, len(self.counts), values.shape[-1]).mean(0)
        sums = values.new_zeros(len(self.counts), values.shape[-1])
        return sums.index_add(0, self.item, values) / self.counts.clamp(min=1).unsqueeze(1)


class EdgeConv(nn.Module):
    r"""Convolution over neighbours, with normalised layers and a shortcut.

    .. math:: y_i = \mathrm{ReLU}\left( N(S x_i) + \langle h(x_i, x_j - x_i) \rangle_j \right),
        \quad h = \ldots \mathrm{ReLU}(N(W_2 \, \mathrm{ReLU}(N(A x_i + B (x_j - x_i)))))

    The first layer of h is evaluated per item, not per pair, as P x_i + Q x_j with P = A - B and
    Q = B: the same functions and as many parameters. At the start A and B are of equal variance.

    Reference: arXiv:1801.07829, arXiv:1902.08570.

    Args:
        inputs: Number of features per item.
        widths: Widths of the layers of h.
    """

    def __init__(self, inputs: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.of_item, self.of_neighbour = _first_layers(inputs, widths[0])
        self.linear = nn.ModuleList(_linear(*pair) for pair in pairwise(widths))
        self.norm = BatchNorm(widths[0])
        self.norms = nn.ModuleList(BatchNorm(width) for width in widths[1:])
        self.shortcut = _linear(inputs, widths[-1])
        self.shortcut_norm = BatchNorm(widths[-1])

    def forward(self, x: Tensor, edges: Edges) -> Tensor:
        """Return the new features, (items, inputs) -> (items, widths[-1])."""
        pairs = self._first(x, edges)
        for linear, norm in zip(self.linear, self.norms, strict=True):
            pairs = torch.relu_(normalised(linear, norm, pairs))
        shortcut = normalised(self.shortcut, self.shortcut_norm, x)
        return torch.relu_(shortcut + edges.mean(pairs))

    def _first(self, x: Tensor, edges: Edges) -> Tensor:
        """Return the first layer of h of each pair."""
        own, other, norm = self.of_item(x), self.of_neighbour(x), self.norm
        if self.training:
            return torch.relu_(norm(edges.sum(own, other)))
        # There are fewer items than pairs to normalise.
        scale, shift = norm.affine()
        return torch.relu_(edges.sum(torch.addcmul(shift, own, scale), other * scale))


def _linear(inputs: int, outputs: int) -> nn.Linear:
    linear = nn.Linear(inputs, outputs, bias=False)
    nn.init.kaiming_uniform_(linear.weight, nonlinearity="relu")
    return linear


def _first_layers(inputs: int, outputs: int) -> tuple[nn.Linear, nn.Linear]:
    both = _linear(2 * inputs, outputs).weight.detach()
    layers = nn.Linear(inputs, outputs, bias=False), nn.Linear(inputs, outputs, bias=False)
    with torch.no_grad():
        layers[0].weight.copy_(both[:, :inputs] - both[:, inputs:])
        layers[1].weight.copy_(both[:, inputs:])
    return layers
