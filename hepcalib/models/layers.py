"""The fully connected stack that the models are made of."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from torch import nn

from hepcalib.exceptions import ConfigError, suggestion

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["ACTIVATIONS", "dense", "output_layer"]

ACTIVATIONS: Mapping[str, type[nn.Module]] = {
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


def dense(widths: Sequence[int], *, activation: str, where: str) -> nn.Sequential:
    """Return linear layers of these widths, each followed by the activation.

    Raises:
        ConfigError: if a width is not positive or the activation is unknown.
    """
    if activation not in ACTIVATIONS:
        known = suggestion(activation, ACTIVATIONS)
        msg = f"{where}: unknown activation '{activation}'. {known}"
        raise ConfigError(msg)
    if any(width < 1 for width in widths):
        msg = f"{where}: layer widths are {list(widths)}; needed: at least 1 each"
        raise ConfigError(msg)
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        linear = nn.Linear(inputs, outputs)
        nn.init.kaiming_uniform_(
            linear.weight, nonlinearity="tanh" if activation == "tanh" else "relu"
        )
        layers += [linear, ACTIVATIONS[activation]()]
    return nn.Sequential(*layers)


def output_layer(inputs: int, outputs: int) -> nn.Linear:
    """Return the last layer, of small weights: an untrained model predicts about N(0, 1) anywhere.

    Larger ones may put a log-variance beyond the range of the head, where it has no gradient.
    """
    linear = nn.Linear(inputs, outputs)
    nn.init.normal_(linear.weight, std=0.01 / inputs**0.5)
    nn.init.zeros_(linear.bias)
    return linear
