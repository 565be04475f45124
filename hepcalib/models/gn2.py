"""A transformer on constituents that know their jet, with attention pooling."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from hepcalib.exceptions import ConfigError
from hepcalib.models.attention import SelfAttention, key_masks
from hepcalib.models.layers import dense, output_layer
from hepcalib.models.layouts import in_order, layouts, packed
from hepcalib.models.model import Model, checked, described
from hepcalib.ragged import Ragged

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hepcalib.batch import Batch
    from hepcalib.models.heads import Head
    from hepcalib.models.layouts import Layout

__all__ = ["GN2"]

BLOCK = 65_536  # pairs of constituents at a time in a prediction


class GN2(Model):
    r"""Transformer with attention pooling, as in GN2 but without its auxiliary tasks.

    .. math:: h_i = W_p T(E(p_i, x)), \quad r = F\left(\sum_i a_i h_i\right), \quad
        a_i = \mathrm{softmax}_i (w \cdot h_i + b)

    with an embedding E, pre-normalised blocks T of attention and a dense part, and a projection
    W_p. The features x of the jet are seen by each constituent, hence not in a jet without any,
    whose outputs are F(0). The architecture is that of GN2: the losses of the origin of tracks and
    of common vertices, which it is trained with as well, need labels that are no part of a target
    per jet, so that its published performance is not to be expected. The width of the dense part
    of a block is a choice of this package.

    Reference: arXiv:2505.19689.

    Args:
        constituents: Number of features per constituent p_i.
        features: Number of features x of the object beside its constituents.
        embed: Widths of the layers of E; the last is that of the blocks.
        heads: Number of heads of each attention.
        blocks: Number of blocks.
        expansion: Width of a dense part over that of the blocks.
        pooled: Width of h.
        f: Widths of the hidden layers of F.
        dropout: Probability of a value to be dropped in training.
        head: What the outputs mean.

    Raises:
        ConfigError: if a width or number is out of range.
    """

    constituent_modules: ClassVar[tuple[str, ...]] = ("embed", "body", "project", "gate")

    def __init__(
        self,
        *,
        constituents: int,
        features: int = 0,
        embed: Sequence[int] = (256, 256),
        heads: int = 8,
        blocks: int = 4,
        expansion: int = 2,
        pooled: int = 128,
        f: Sequence[int] = (128, 64, 32),
        dropout: float = 0.0,
        head: Head,
    ) -> None:
        super().__init__()
        sizes = {"blocks": blocks, "expansion": expansion, "pooled": pooled}
        if constituents < 1 or features < 0 or not embed or min(sizes.values()) < 1:
            msg = (
                f"GN2: constituents is {constituents}, features {features}, embed {list(embed)}, "
                f"{sizes}; needed: at least 1, 0, one width and 1 of each"
            )
            raise ConfigError(msg)
        self.constituents, self.features = constituents, features
        self.sizes = {"heads": heads, **sizes, "dropout": dropout}
        self.widths = {"embed": list(embed), "f": list(f)}
        self.embed = dense([constituents + features, *embed], activation="relu", where="GN2 embed")
        self.body = nn.ModuleList(
            _Block(embed[-1], heads, expansion, dropout) for _ in range(blocks)
        )
        self.project = nn.Sequential(nn.LayerNorm(embed[-1]), nn.Linear(embed[-1], pooled))
        self.gate = nn.Linear(pooled, 1)
        widths = [pooled, *f]
        self.f = nn.Sequential(
            *dense(widths, activation="relu", where="GN2 f"),
            output_layer(widths[-1], head.outputs),
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
        groups, latent = self._evaluated(batch)
        pooled = [
            group.ragged(self._weights(group, values) * values).sum()
            for group, values in zip(groups, latent, strict=True)
        ]
        raw: Tensor = self.f(in_order(pooled, [group.rows for group in groups]))
        return raw

    def attention(self, batch: Batch) -> Ragged:
        """Return the weight a of each constituent in the sum over its jet.

        Returns:
            Rows of numbers that add up to 1, in the order of the constituents.

        Raises:
            ShapeError: if the batch has other numbers of features.
        """
        jets, _ = packed(batch, self.constituents, model=self)
        groups, latent = self._evaluated(batch)
        weights = [
            self._weights(group, values).squeeze(1)
            for group, values in zip(groups, latent, strict=True)
        ]
        return Ragged(in_order(weights, [group.items for group in groups]), jets.offsets)

    def _evaluated(self, batch: Batch) -> tuple[list[Layout], list[Tensor]]:
        """Return groups of jets, and h of their constituents."""
        jets, values = packed(batch, self.constituents, model=self)
        if self.features:
            features = checked(batch.features, self.features, model=self, what="features")
            values = torch.cat([values, jets.repeat(features)], dim=1)
        groups = layouts(jets, BLOCK, together=self.training)
        found = []
        for group in groups:
            latent = self.embed(values.index_select(0, group.items))
            masks = key_masks(group)
            for block in self.body:
                latent = block(latent, group, masks)
            found.append(self.project(latent))
        return groups, found

    def _weights(self, group: Layout, latent: Tensor) -> Tensor:
        return group.ragged(self.gate(latent)).softmax().values


class _Block(nn.Module):
    """Attention among the constituents of each jet and a dense part, both added to what came in."""

    def __init__(self, width: int, heads: int, expansion: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = SelfAttention(width, heads, dropout=dropout)
        self.dropout = nn.Dropout(dropout)
        self.dense = nn.Sequential(
            nn.LayerNorm(width),
            *dense([width, expansion * width], activation="relu", where="GN2"),
            nn.Dropout(dropout),
            nn.Linear(expansion * width, width),
            nn.Dropout(dropout),
        )

    def forward(self, values: Tensor, layout: Layout, masks: Sequence[Tensor]) -> Tensor:
        """Return the new constituents, (items, width)."""
        values = values + self.dropout(self.attention(self.norm(values), layout, masks))
        dense_part: Tensor = self.dense(values)
        return values + dense_part
