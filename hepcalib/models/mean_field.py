"""A linear layer whose weights are independent normal variables."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from hepcalib.losses import gaussian_kl

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["MeanFieldLinear"]

LOG_VARIANCE = (-20.0, 11.0)


class MeanFieldLinear(nn.Module):
    r"""Linear layer with w ~ N(mu, sigma^2) and a deterministic bias.

    In training every row sees its own weights, by drawing its pre-activations (local
    reparametrisation, arXiv:1506.02557):

    .. math:: z \sim N(x \mu^T + b,\; x^2 (\sigma^2)^T)

    With ``shared``, all rows of one call see the same draw of the weights. In evaluation the layer
    uses ``drawn`` where that is set, else the means.

    Args:
        linear: The layer to replace; its weights become the means.
        initial_log_variance: ln sigma^2 at the start, up to a spread of 0.001; kept in [-20, 11].
        shared: Whether the rows of a call belong together, as the constituents of a jet do.
    """

    def __init__(
        self, linear: nn.Linear, *, initial_log_variance: float, shared: bool = False
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(linear.weight.detach().clone())
        spread = 0.001 * torch.randn_like(self.weight)
        self.log_variance = nn.Parameter(initial_log_variance + spread)
        bias: Tensor | None = linear.bias
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone())
        self.shared = shared
        self.drawn: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Return the pre-activations, (rows, inputs) -> (rows, outputs)."""
        if self.drawn is not None:
            return functional.linear(x, self.drawn, self.bias)
        if not self.training:
            return functional.linear(x, self.weight, self.bias)
        if self.shared:
            return functional.linear(x, self.sample(torch.randn_like(self.weight)), self.bias)
        mean = functional.linear(x, self.weight, self.bias)
        variance = functional.linear(x.square(), self.clamped().exp())
        # The derivative of the root is infinite at 0, where all inputs of a row are 0.
        deviation = variance.clamp(min=torch.finfo(variance.dtype).tiny).sqrt()
        return mean + deviation * torch.randn_like(mean)

    def clamped(self) -> Tensor:
        """Return ln sigma^2 within the range that keeps its exponential harmless."""
        return self.log_variance.clamp(*LOG_VARIANCE)

    def sample(self, noise: Tensor) -> Tensor:
        """Return the weights that standard normal noise of their shape leads to."""
        return self.weight + (0.5 * self.clamped()).exp() * noise

    def kl(self, prior_precision: float) -> Tensor:
        """Return the divergence from the prior N(0, 1 / precision), summed over the weights."""
        return gaussian_kl(self.weight, self.clamped(), prior_precision)
