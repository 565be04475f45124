"""A linear layer whose weights are independent normal variables."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from hepcalib.models.products import linear, summed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

__all__ = ["MeanFieldLinear", "divergence", "local_reparametrisation"]

LOG_VARIANCE = (-20.0, 11.0)
PARTS = 8  # of a batch that use the same random numbers


class MeanFieldLinear(nn.Module):
    r"""Linear layer with w ~ N(mu, sigma^2) and a deterministic bias.

    In training every row sees its own weights, by drawing its pre-activations (local
    reparametrisation, arXiv:1506.02557):

    .. math:: z \sim N(x \mu^T + b,\; x^2 (\sigma^2)^T)

    For an eighth of the random numbers, unit j of a row in the k-th eighth of a batch has the noise
    of unit j + k - 1 of a row in the first, times the random sign of the row: each number is normal
    and uncorrelated with all others, and the rows of one unit are independent. With ``shared``, all
    rows of one call see the same draw of the weights. In evaluation the layer uses the means.

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

    def forward(self, x: Tensor) -> Tensor:
        """Return the pre-activations, (..., inputs) -> (..., outputs)."""
        if not self.training:
            return functional.linear(x, self.weight, self.bias)
        if self.shared:
            return functional.linear(x, self.sample(torch.randn_like(self.weight)), self.bias)
        if x.dim() != 2:
            drawn: Tensor = self(x.reshape(-1, x.shape[-1]))
            return drawn.reshape(*x.shape[:-1], len(self.weight))
        return local_reparametrisation(
            x, self.weight, self.log_variance, bias=self.bias, noise=self._noise(len(x))
        )

    def _noise(self, rows: int) -> Tensor:
        units = len(self.weight)
        parts = min(PARTS, units)
        length = -(-rows // parts)
        first = self.weight.new_empty(length, units).normal_()
        signs = first.new_empty(parts, length, 1).normal_().sign_()
        shifted = torch.cat([first, first], dim=1).as_strided(
            (parts, length, units), (1, 2 * units, 1)
        )
        noise = torch.mul(shifted, signs, out=first.new_empty(parts, length, units))
        return noise.view(-1, units)[:rows]

    def clamped(self) -> Tensor:
        """Return ln sigma^2 within the range that keeps its exponential harmless."""
        return self.log_variance.clamp(*LOG_VARIANCE)

    def sample(self, noise: Tensor) -> Tensor:
        """Return the weights that standard normal noise of their shape leads to."""
        return self.weight + (0.5 * self.clamped()).exp() * noise

    def plain(self) -> nn.Linear:
        """Return a linear layer with the means as weights: the same parameters, not copies."""
        outputs, inputs = self.weight.shape
        linear = nn.Linear(inputs, outputs, bias=self.bias is not None, device="meta")
        linear.weight = self.weight
        if self.bias is not None:
            linear.bias = self.bias
        return linear


def local_reparametrisation(
    x: Tensor, weight: Tensor, log_variance: Tensor, *, bias: Tensor | None, noise: Tensor
) -> Tensor:
    r"""Return the pre-activations of rows that each have their own weights.

    .. math:: z = x \mu^T + b + \sqrt{x^2 (\sigma^2)^T} \odot \epsilon

    Once differentiable in all but the noise.

    Reference: arXiv:1506.02557.

    Args:
        x: Inputs.
        weight: Means mu of the weights.
        log_variance: Logarithm of their variances sigma^2, kept in [-20, 11].
        bias: Bias b, or None.
        noise: Standard normal numbers epsilon.

    Shapes:
        x: (rows, inputs); weight, log_variance: (outputs, inputs); bias: (outputs,);
        noise: (rows, outputs) -> (rows, outputs)
    """
    drawn: Tensor = _LocalReparametrisation.apply(  # type: ignore[no-untyped-call]  # torch does not annotate it
        x, weight, log_variance, bias, noise
    )
    return drawn


def divergence(layers: Sequence[MeanFieldLinear], prior_precision: float) -> Tensor:
    r"""Return the divergence of all weights from the prior N(0, 1 / precision) [nat].

    .. math:: \tfrac12 \sum_i [\tau (\mu_i^2 + \sigma_i^2) - \ln\sigma_i^2 - 1 - \ln\tau]

    Once differentiable. ``hepcalib.losses.gaussian_kl`` is the same for one tensor of weights.
    """
    means = [layer.weight for layer in layers]
    log_variances = [layer.log_variance for layer in layers]
    kl: Tensor = _Divergence.apply(  # type: ignore[no-untyped-call]  # torch does not annotate it
        prior_precision, *means, *log_variances
    )
    return kl


class _LocalReparametrisation(torch.autograd.Function):
    """One node with five matrix products, instead of a graph of fifteen operations."""

    @staticmethod
    def forward(ctx: Any, *tensors: Any) -> Tensor:
        x, weight, log_variance, bias, noise = tensors
        variance = log_variance.clamp(*LOG_VARIANCE).exp_()
        # The derivative of the root is infinite at 0, where all inputs of a row are 0.
        squares = x * x
        spread = linear(squares, variance).clamp_(min=torch.finfo(x.dtype).tiny)
        ratio = spread.rsqrt().mul_(noise)
        ctx.save_for_backward(x, squares, weight, log_variance, variance, ratio)
        return linear(x, weight, bias).addcmul_(spread, ratio)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        x, squares, weight, log_variance, variance, ratio = ctx.saved_tensors
        of_x = of_variance = None
        scaled = upstream * ratio  # twice the gradient of the variance of z
        if ctx.needs_input_grad[0]:
            of_x = scaled.mm(variance).mul_(x).addmm_(upstream, weight)
        if ctx.needs_input_grad[2]:
            inside = log_variance.clamp(*LOG_VARIANCE).eq_(log_variance)
            of_variance = summed(scaled, squares).mul_(inside.mul_(variance).mul_(0.5))
        of_weight = summed(upstream, x) if ctx.needs_input_grad[1] else None
        of_bias = upstream.sum(0) if ctx.needs_input_grad[3] else None
        return of_x, of_weight, of_variance, of_bias, None


class _Divergence(torch.autograd.Function):
    """The sum over all layers at once, with the gradients in closed form."""

    @staticmethod
    def forward(ctx: Any, prior_precision: float, *tensors: Tensor) -> Tensor:
        numbers = torch.cat([tensor.reshape(-1) for tensor in tensors])
        means, log_variances = numbers.chunk(2)
        inside = log_variances.clamp(*LOG_VARIANCE)
        relative = inside + math.log(prior_precision)  # ln(tau sigma^2)
        inside.eq_(log_variances)
        # expm1(u) - u keeps its digits where the posterior equals the prior
        excess = torch.expm1(relative)
        divergence = prior_precision * means.dot(means) + relative.neg_().add_(excess).sum()
        means.mul_(2.0 * prior_precision)
        torch.mul(inside, excess, out=log_variances)
        ctx.save_for_backward(numbers)  # by now twice the gradient
        ctx.shapes = [tensor.shape for tensor in tensors]
        return 0.5 * divergence

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        parts = torch.split(gradient * (0.5 * upstream), [shape.numel() for shape in ctx.shapes])
        return None, *(part.view(shape) for part, shape in zip(parts, ctx.shapes, strict=True))
