"""The mixture of a network, and the joining of many mixtures to one, as nodes of a graph."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hepcalib.export.networks import Affine
from hepcalib.models.heads.normal import LOG_VARIANCE

if TYPE_CHECKING:
    from hepcalib.export.graph import Graph
    from hepcalib.export.networks import Network

__all__ = [
    "COMPONENTS",
    "SMALLEST_SHARE",
    "add_components",
    "add_moments",
    "add_network",
    "add_order",
]

COMPONENTS = 3

# A share that softmax rounds to 0 becomes this, so that every component has a mean.
SMALLEST_SHARE = 1e-30


def add_network(graph: Graph, network: Network, features: str) -> str:
    """Add a multi-layer perceptron; return its raw outputs, (n, outputs)."""
    value = features
    for layer in network:
        if isinstance(layer, Affine):
            value = graph.linear(value, layer.weight, layer.bias)
        else:
            value = graph.activation(value, layer)
    return value


def add_components(graph: Graph, raw: list[str]) -> tuple[str, str, str]:
    """Return means, variances and shares of the members, (members, n, 3), or those of the one.

    They are in units of the head's scale; for one member, the variances are their logarithms.
    """
    first = raw[0]
    if len(raw) > 1:
        axis = graph.constant([0], "int64")
        first = graph.op("Concat", *(graph.op("Unsqueeze", x, axis) for x in raw), axis=0)
    sizes = graph.constant([COMPONENTS] * 3, "int64")
    means, log_variances, logits = graph.ops("Split", first, sizes, results=3, axis=-1)
    limits = (graph.constant(limit) for limit in LOG_VARIANCE)
    log_variances = graph.op("Clip", log_variances, *limits)
    shares = graph.op("Softmax", logits, axis=-1)
    if len(raw) == 1:
        return means, log_variances, shares
    shares = graph.op("Max", shares, graph.constant(SMALLEST_SHARE))
    return means, graph.op("Exp", log_variances), shares


def add_order(graph: Graph, parts: tuple[str, str, str]) -> tuple[str, str, str]:
    """Put the components of each member into the order of their means."""
    count = graph.constant([COMPONENTS], "int64")
    means, order = graph.ops("TopK", parts[0], count, results=2, axis=-1, largest=0, sorted=1)
    variances, shares = (graph.op("GatherElements", x, order, axis=-1) for x in parts[1:])
    return means, variances, shares


def add_moments(graph: Graph, parts: tuple[str, str, str]) -> tuple[str, str, str]:
    """Join the members' components k to one, (n, 3) each, that has their mean and variance."""
    means, variances, shares = parts

    def mean(of: str) -> str:
        return graph.op("ReduceMean", of, axes=[0], keepdims=0)

    alphas = mean(shares)
    mus = graph.op("Div", mean(graph.op("Mul", shares, means)), alphas)
    apart = graph.op("Sub", means, mus)
    spread = graph.op("Add", variances, graph.op("Mul", apart, apart))
    return mus, graph.op("Div", mean(graph.op("Mul", shares, spread)), alphas), alphas
