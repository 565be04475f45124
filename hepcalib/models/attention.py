"""Multi-head attention among the constituents of a jet, and of one query per jet on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from hepcalib.exceptions import ConfigError
from hepcalib.ragged import Ragged

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hepcalib.models.layouts import Layout

__all__ = ["QueryAttention", "SelfAttention", "attend", "key_masks"]


class SelfAttention(nn.Module):
    r"""Each constituent collects values from all constituents of its jet.

    .. math:: y_i = W_o \bigoplus_h \gamma_h \sum_j \mathrm{softmax}_j
        \left( \frac{q_{hi} \cdot k_{hj}}{\sqrt d} + b_{hij} \right) v_{hj} + b_o

    Reference: arXiv:1706.03762; the factors of the heads: arXiv:2110.09456.

    Args:
        width: Number of features per constituent.
        heads: Number of heads h, a divisor of the width; d is width / heads.
        dropout: Probability of a weight to be dropped in training.
        scaled: Whether there are factors gamma, 1 at the start.

    Raises:
        ConfigError: if heads do not divide the width or the dropout is no probability.
    """

    def __init__(
        self, width: int, heads: int, *, dropout: float = 0.0, scaled: bool = False
    ) -> None:
        super().__init__()
        _check(width, heads, dropout)
        self.heads, self.dropout = heads, dropout
        self.project = _projection(width, 3 * width)
        self.out = _projection(width, width)
        self.scale = nn.Parameter(torch.ones(heads)) if scaled else None

    def forward(self, values: Tensor, layout: Layout, bias: Sequence[Tensor]) -> Tensor:
        """Return what each constituent has collected.

        Args:
            values: Features of the constituents, packed.
            layout: Which of them belong together.
            bias: Bias b of each padded part, minus infinity where the second place is padded;
                or a mask, true where it is not.

        Shapes:
            values: (items, width); bias: (jets, heads or 1, longest or 1, longest)
            -> (items, width)
        """
        projected = self.project(values)
        width = values.shape[-1]
        parts = [projected.new_zeros(0, width)]
        for index, added in zip(layout.places, bias, strict=True):
            jets, longest = index.shape
            padded = projected.index_select(0, index.flatten())
            split = padded.view(jets, longest, 3, self.heads, -1)
            query, key, value = split.permute(2, 0, 3, 1, 4).unbind()
            dropout = self.dropout if self.training else 0.0
            collected = attend(query, key, value, bias=added, dropout=dropout)
            parts.append(collected.transpose(1, 2).reshape(jets * longest, width))
        collected = torch.cat(parts).index_select(0, layout.slots)
        out: Tensor = self.out(_scaled(collected, self.scale))
        return out


class QueryAttention(nn.Module):
    r"""One query per jet collects values from the items of the jet, without padding.

    .. math:: y = W_o \bigoplus_h \gamma_h \sum_j a_{hj} v_{hj} + b_o, \quad
        a_{hj} = \mathrm{softmax}_j \frac{q_h \cdot k_{hj}}{\sqrt d}

    Reference: arXiv:2103.17239.

    Args:
        width: Number of features of query and items.
        heads: Number of heads h, a divisor of the width; d is width / heads.
        scaled: Whether there are factors gamma, 1 at the start.

    Raises:
        ConfigError: if heads do not divide the width.
    """

    def __init__(self, width: int, heads: int, *, scaled: bool = False) -> None:
        super().__init__()
        _check(width, heads, 0.0)
        self.heads = heads
        self.query = _projection(width, width)
        self.project = _projection(width, 2 * width)
        self.out = _projection(width, width)
        self.scale = nn.Parameter(torch.ones(heads)) if scaled else None

    def forward(self, query: Tensor, items: Ragged) -> tuple[Tensor, Tensor]:
        """Return what each query has collected, and the weights a of the items.

        Shapes:
            query: (rows, width); items: rows of (width,) -> (rows, width), (items, heads)
        """
        values = items.packed().values
        size = query.shape[1] // self.heads
        asked = items.repeat(self.query(query)).view(len(values), self.heads, size)
        key, value = self.project(values).view(len(values), 2, self.heads, size).unbind(1)
        logits = (asked * key).sum(2) * size**-0.5
        offsets = items.packed().offsets
        weights = Ragged(logits, offsets).softmax().values
        collected = Ragged(weights.unsqueeze(2) * value, offsets).sum().flatten(1)
        return self.out(_scaled(collected, self.scale)), weights


def key_masks(layout: Layout) -> list[Tensor]:
    """Return the masks of an attention without bias, (jets, 1, 1, longest) for each part."""
    return [mask[:, None, None] for mask in layout.mask]


def attend(query: Tensor, key: Tensor, value: Tensor, *, bias: Tensor, dropout: float) -> Tensor:
    r"""Return the values, weighted by how much their keys are like the query.

    .. math:: \mathrm{softmax}\left( \frac{q k^T}{\sqrt d} + b \right) v

    At least one key of each query has to have a finite bias, or be in the mask.

    Args:
        query: Queries q.
        key: Keys k.
        value: Values v.
        bias: Bias b, or a mask of the keys that are asked.
        dropout: Probability of a weight to be dropped.

    Shapes:
        query, key, value: (jets, heads, longest, d); bias: (jets, heads or 1, longest or 1,
        longest) -> (jets, heads, longest, d)
    """
    if not torch.is_grad_enabled() and dropout == 0.0:
        fused: Tensor = _Fused.apply(  # type: ignore[no-untyped-call]  # torch has no types for it
            query, key, value, bias
        )
        return fused
    logits = (query * query.shape[-1] ** -0.5) @ key.mT
    masked = bias.dtype == torch.bool
    logits = torch.where(bias, logits, -torch.inf) if masked else logits + bias
    return functional.dropout(logits.softmax(-1), dropout) @ value


class _Fused(torch.autograd.Function):
    """The fused kernel of torch, which has no rule for ``vmap``; for use without gradients."""

    @staticmethod
    def forward(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
        return functional.scaled_dot_product_attention(query, key, value, attn_mask=bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        del ctx, inputs, output

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *tensors: Tensor) -> tuple[Tensor, int]:
        """Put all networks side by side, as more jets."""
        networks = info.batch_size
        folded = []
        for tensor, dim in zip(tensors, in_dims, strict=True):
            stacked = tensor.unsqueeze(0) if dim is None else tensor.movedim(dim, 0)
            folded.append(stacked.expand(networks, *stacked.shape[1:]).flatten(0, 1))
        found: Tensor = _Fused.apply(*folded)  # type: ignore[no-untyped-call]  # as above
        return found.view(networks, -1, *found.shape[1:]), 0


def _projection(inputs: int, outputs: int) -> nn.Linear:
    linear = nn.Linear(inputs, outputs)
    nn.init.xavier_uniform_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


def _scaled(collected: Tensor, scale: Tensor | None) -> Tensor:
    """Return the collected values (rows, width), those of each head times its factor."""
    if scale is None:
        return collected
    size = collected.shape[1] // len(scale)
    return collected * scale.repeat_interleave(size)


def _check(width: int, heads: int, dropout: float) -> None:
    if heads < 1 or width < 1 or width % heads:
        msg = f"attention: width {width} and {heads} heads; needed: a positive multiple of them"
        raise ConfigError(msg)
    if not 0.0 <= dropout < 1.0:
        msg = f"attention: dropout is {dropout}; needed: at least 0 and below 1"
        raise ConfigError(msg)
