"""The fully connected stack that the models are made of."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import nn

from hepcalib.exceptions import ConfigError, suggestion

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

__all__ = ["ACTIVATIONS", "DoubleSiLU", "ShiftedTanh", "dense", "output_layer"]


class DoubleSiLU(nn.Module):
    r"""Twice the sigmoid-weighted input, :math:`2 x / (1 + e^{-x})`, of slope 1 at 0."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the activations."""
        return 2.0 * nn.functional.silu(x)


class ShiftedTanh(nn.Module):
    r"""The hyperbolic tangent between 0 and 6, :math:`3 (\tanh x + 1)`."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the activations."""
        return 3.0 * (torch.tanh(x) + 1.0)


ACTIVATIONS: Mapping[str, type[nn.Module]] = {
    "double_silu": DoubleSiLU,
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "relu": nn.ReLU,
    "shifted_tanh": ShiftedTanh,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}

# Mean and standard deviation of the activations of standard normal inputs.
_MOMENTS: Mapping[str, tuple[float, float]] = {
    "double_silu": (0.413242, 1.119077),
    "shifted_tanh": (3.0, 1.883786),
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
        if activation in _MOMENTS:
            _standardise(linear, *(_MOMENTS[activation] if layers else (0.0, 1.0)))
        else:
            nn.init.kaiming_uniform_(
                linear.weight, nonlinearity="tanh" if activation == "tanh" else "relu"
            )
        layers += [linear, ACTIVATIONS[activation]()]
    return nn.Sequential(*layers)


@torch.no_grad()
def _standardise(linear: nn.Linear, mean: float, deviation: float) -> None:
    """Let inputs of this mean and deviation lead to pre-activations around 0 of variance about 1.

    Activations of a large mean would otherwise shift the next layer into saturation.
    """
    limit = (3.0 / linear.in_features) ** 0.5 / deviation
    nn.init.uniform_(linear.weight, -limit, limit)
    linear.bias.sub_(mean * linear.weight.sum(1))


def output_layer(inputs: int, outputs: int) -> nn.Linear:
    """Return the last layer, of small weights: an untrained model predicts about N(0, 1) anywhere.

    Larger ones may put a log-variance beyond the range of the head, where it has no gradient.
    """
    linear = nn.Linear(inputs, outputs)
    nn.init.normal_(linear.weight, std=0.01 / inputs**0.5)
    nn.init.zeros_(linear.bias)
    return linear
