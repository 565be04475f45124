"""Matrix products of few columns, by the faster of two that sum the same numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["NARROW", "linear", "summed"]

# A product of fewer columns than this is faster as that of the transposed: 9 take half the time.
NARROW = 16


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Return x @ weight.T + bias, (rows, inputs) -> (rows, outputs)."""
    if len(weight) >= NARROW:
        return functional.linear(x, weight, bias)
    if bias is None:
        return weight.mm(x.t()).t()
    return torch.addmm(bias.unsqueeze(1), weight, x.t()).t()


def summed(upstream: Tensor, x: Tensor) -> Tensor:
    """Return upstream.T @ x, of (rows, outputs) and (rows, inputs) -> (outputs, inputs)."""
    return x.t().mm(upstream).t() if x.shape[1] < NARROW else upstream.t().mm(x)
