"""The particle transformer: attention that knows the angles and masses of pairs."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from hepcalib.exceptions import ConfigError
from hepcalib.models.attention import QueryAttention, SelfAttention
from hepcalib.models.layers import dense, output_layer
from hepcalib.models.layouts import Layout, cells_on, in_order, layouts, packed
from hepcalib.models.model import Model, checked, described
from hepcalib.models.normalisation import BatchNorm
from hepcalib.models.pair_features import PAIR_FEATURES, pair_features
from hepcalib.ragged import Ragged

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hepcalib.batch import Batch
    from hepcalib.models.heads import Head

__all__ = ["ParticleTransformer"]

MOMENTUM = 4  # columns that are the four-momentum
BLOCK = 65_536  # pairs of constituents of the jets at a time in a prediction
PAIRS = 4096  # of these embedded at a time, so that their latent values stay in the cache


class ParticleTransformer(Model):
    r"""Transformer on constituents whose attention has a bias from the momenta of each pair.

    .. math:: u_{ij} = U(\ln k_T, \ln z, \ln \Delta R, \ln m^2), \quad
        x^{l+1} = B_l(x^l, u), \quad r = F(C(t, x^L), x)

    B are pre-normalised blocks of attention and a dense part, with normalisation also after the
    attention and between the layers of the dense part, a factor for each head and for each feature
    of the residual. A token t without place in the jet collects from the constituents in the class
    blocks C; it is all there is of a jet without constituents. See `pair_features` for U's inputs.

    With 7 embedded features and 2 outputs there are 2,141,134 parameters, with 17 and 10 there
    are 2,143,486. In training all pairs of the batch are in memory together, in a prediction the
    bias of those of one jet, or of 65,536 pairs of several (64 times as many on a GPU).

    Reference: arXiv:2202.03772.

    Args:
        constituents: Number of features per constituent: E, px, py, pz [GeV], which are used for
            the pairs only, and at least one more, which are embedded.
        features: Number of features x of the object beside its constituents.
        embed: Widths of the layers that embed a constituent; the last is that of the transformer.
        pair_embed: Widths of the hidden layers of U.
        heads: Number of heads of each attention.
        blocks: Number of blocks of attention among the constituents.
        class_blocks: Number of blocks of the token.
        expansion: Width of a dense part over that of the transformer.
        f: Widths of the hidden layers of F.
        dropout: Probability of a value to be dropped in training; none are in the class blocks.
        head: What the outputs mean.

    Raises:
        ConfigError: if a width or number is out of range.
    """

    constituent_modules: ClassVar[tuple[str, ...]] = ("embed", "pair_embed", "body", "top")
    leading: ClassVar[tuple[str, ...]] = (
        "constituent.energy",
        "constituent.px",
        "constituent.py",
        "constituent.pz",
    )

    def __init__(
        self,
        *,
        constituents: int,
        features: int = 0,
        embed: Sequence[int] = (128, 512, 128),
        pair_embed: Sequence[int] = (64, 64, 64),
        heads: int = 8,
        blocks: int = 8,
        class_blocks: int = 2,
        expansion: int = 4,
        f: Sequence[int] = (),
        dropout: float = 0.1,
        head: Head,
    ) -> None:
        super().__init__()
        sizes = {"blocks": blocks, "class_blocks": class_blocks, "expansion": expansion}
        if constituents <= MOMENTUM or features < 0 or not embed or min(sizes.values()) < 1:
            msg = (
                f"ParticleTransformer: constituents is {constituents}, features {features}, embed "
                f"{list(embed)}, {sizes}; needed: at least 5, 0, one width and 1 of each"
            )
            raise ConfigError(msg)
        self.constituents, self.features = constituents, features
        self.sizes = {"heads": heads, **sizes, "dropout": dropout}
        self.widths = {"embed": list(embed), "pair_embed": list(pair_embed), "f": list(f)}
        width = embed[-1]
        self.embed = _embedding([constituents - MOMENTUM, *embed])
        self.pair_embed = _pair_embedding([PAIR_FEATURES, *pair_embed, heads])
        self.body = nn.ModuleList(
            _ParticleBlock(width, heads, expansion, dropout) for _ in range(blocks)
        )
        self.token = nn.Parameter(nn.init.trunc_normal_(torch.empty(width), std=0.02))
        self.top = nn.ModuleList(_ClassBlock(width, heads, expansion) for _ in range(class_blocks))
        self.norm = nn.LayerNorm(width)
        self.f = nn.Sequential(
            *dense([width + features, *f], activation="relu", where="ParticleTransformer f"),
            output_layer(([width + features, *f])[-1], head.outputs),
        )
        self.head = head

    @property
    def config(self) -> dict[str, Any]:
        """Constructor keywords, as JSON can hold them."""
        return {
            "constituents": self.constituents,
            "features": self.features,
            **self.widths,
            **self.sizes,
            "head": described(self.head),
        }

    def outputs(self, batch: Batch) -> Tensor:
        """Return the raw outputs, (rows, head.outputs).

        Raises:
            ShapeError: if the batch has other numbers of features.
        """
        tokens, groups, _ = self._evaluated(batch)
        latent = self.norm(in_order(tokens, [group.rows for group in groups]))
        if self.features:
            features = checked(batch.features, self.features, model=self, what="features")
            latent = torch.cat([latent, features], dim=1)
        raw: Tensor = self.f(latent)
        return raw

    def attention(self, batch: Batch) -> Ragged:
        """Return the weight of each constituent in what its jet's token collects.

        It is the mean over the heads and the class blocks; what the weights of a jet lack to 1 is
        that of the token itself.

        Returns:
            Rows of numbers in [0, 1], in the order of the constituents.

        Raises:
            ShapeError: if the batch has other numbers of features.
        """
        _, groups, weights = self._evaluated(batch)
        jets, _ = packed(batch, self.constituents, model=self)
        return Ragged(in_order(weights, [group.items for group in groups]), jets.offsets)

    def _evaluated(self, batch: Batch) -> tuple[list[Tensor], list[Layout], list[Tensor]]:
        """Return the tokens (jets, width) and the weights (items,) of groups of jets."""
        jets, values = packed(batch, self.constituents, model=self)
        groups = layouts(jets, BLOCK, together=self.training)
        tokens, weights = [], []
        for group in groups:
            momenta = jets.values[:, :MOMENTUM].index_select(0, group.items)
            embedded = self.embed(values[:, MOMENTUM:].index_select(0, group.items))
            bias = self._bias(momenta, group, values.dtype)
            for block in self.body:
                embedded = block(embedded, group, bias)
            token, weight = self._collected(embedded, group)
            tokens.append(token)
            weights.append(weight)
        return tokens, groups, weights

    def _bias(self, momenta: Tensor, group: Layout, dtype: torch.dtype) -> list[Tensor]:
        """Return the bias of the attention, (jets, heads, longest, longest) for each part."""
        i, j, numbers = group.triangle()
        size = max(1, len(i)) if self.training else cells_on(PAIRS, momenta.device)
        embedded = [
            self.pair_embed(pair_features(momenta, *pairs).to(dtype)).mT
            for pairs in zip(torch.split(i, size), torch.split(j, size), strict=True)
        ]
        # One more pair that nothing is collected from.
        never = embedded[0].new_full((self.sizes["heads"], 1), -torch.inf)
        table = torch.cat([*embedded, never], dim=1)
        return [
            table.index_select(1, number.flatten()).view(len(table), *number.shape).transpose(0, 1)
            for number in numbers
        ]

    def _collected(self, embedded: Tensor, group: Layout) -> tuple[Tensor, Tensor]:
        """Return the token of each jet, and the mean weight of each constituent in it."""
        jets = group.ragged(embedded)
        token = self.token.expand(jets.rows, -1)
        order = torch.cat([torch.arange(jets.rows, device=token.device), jets.row_ids()])
        order = order.argsort(stable=True)  # the token of a jet, then its constituents
        offsets = jets.offsets + torch.arange(jets.rows + 1, device=token.device)
        weights = []
        for block in self.top:
            items = torch.cat([token, embedded]).index_select(0, order)
            token, weight = block(token, Ragged(items, offsets))
            weights.append(weight.mean(1))
        mean = torch.stack(weights).mean(0)
        return token, mean.index_select(0, order.argsort()[jets.rows :])


class _Block(nn.Module):
    """What the blocks share: the dense part and the sums with what came in."""

    def __init__(self, width: int, expansion: int, dropout: float) -> None:
        super().__init__()
        self.before_attention = nn.LayerNorm(width)
        self.after_attention = nn.LayerNorm(width)
        self.dense = nn.Sequential(
            nn.LayerNorm(width),
            *dense([width, expansion * width], activation="gelu", where="ParticleTransformer"),
            nn.Dropout(dropout),
            nn.LayerNorm(expansion * width),
            nn.Linear(expansion * width, width),
            nn.Dropout(dropout),
        )
        self.dropout = nn.Dropout(dropout)
        self.residual = nn.Parameter(torch.ones(width))

    def added(self, values: Tensor, collected: Tensor) -> Tensor:
        """Return the values with what the attention has collected, after the dense part."""
        values = values + self.dropout(self.after_attention(collected))
        dense_part: Tensor = self.dense(values)
        return self.residual * values + dense_part


class _ParticleBlock(_Block):
    """Attention among the constituents of each jet."""

    def __init__(self, width: int, heads: int, expansion: int, dropout: float) -> None:
        super().__init__(width, expansion, dropout)
        self.attention = SelfAttention(width, heads, dropout=dropout, scaled=True)

    def forward(self, values: Tensor, layout: Layout, bias: Sequence[Tensor]) -> Tensor:
        """Return the new constituents, (items, width)."""
        return self.added(values, self.attention(self.before_attention(values), layout, bias))


class _ClassBlock(_Block):
    """Attention of the token of each jet on itself and the constituents."""

    def __init__(self, width: int, heads: int, expansion: int) -> None:
        super().__init__(width, expansion, 0.0)
        self.attention = QueryAttention(width, heads, scaled=True)

    def forward(self, token: Tensor, items: Ragged) -> tuple[Tensor, Tensor]:
        """Return the new tokens, (rows, width), and the weights of the items, (items, heads)."""
        normalised = items.map(self.before_attention)
        collected, weights = self.attention(self.before_attention(token), normalised)
        return self.added(token, collected), weights


def _embedding(widths: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = [BatchNorm(widths[0])]
    for pair in pairwise(widths):
        layer = dense(pair, activation="gelu", where="ParticleTransformer embed")
        layers += [nn.LayerNorm(pair[0]), *layer]
    return nn.Sequential(*layers)


def _pair_embedding(widths: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = [BatchNorm(widths[0])]
    for pair in pairwise(widths):
        linear, activation = dense(pair, activation="gelu", where="ParticleTransformer pair_embed")
        layers += [linear, BatchNorm(pair[1]), activation]
    return nn.Sequential(*layers)
