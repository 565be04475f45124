"""The particle flow network: a set of constituents per object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn

from hepcalib.exceptions import ConfigError
from hepcalib.models.layers import dense, output_layer
from hepcalib.models.model import Model, checked, described
from hepcalib.models.set_sums import set_sums
from hepcalib.ragged import Ragged

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from hepcalib.batch import Batch
    from hepcalib.models.heads import Head

__all__ = ["PFN"]

# Constituents at a time, so that their latent values stay in the processor's cache, or are not
# more than a GPU can hold.
BLOCK, GPU_BLOCK = 4096, 1_048_576


class PFN(Model):
    r"""Particle flow network (deep sets), for any number of constituents, none included.

    .. math:: F\left(\sum_i \Phi(p_i), x\right)

    Reference: arXiv:1810.05165.

    Args:
        constituents: Number of features per constituent p_i.
        features: Number of features x of the object beside its constituents.
        phi: Widths of the layers of Phi.
        f: Widths of the hidden layers of F.
        head: What the outputs mean.
        activation: One of double_silu, elu, gelu, relu, shifted_tanh, silu, tanh.

    Raises:
        ConfigError: if a width is not positive or the activation is unknown.
    """

    constituent_modules: ClassVar[tuple[str, ...]] = ("phi",)

    def __init__(
        self,
        *,
        constituents: int,
        features: int = 0,
        phi: Sequence[int] = (100, 100, 256),
        f: Sequence[int] = (100, 100, 100),
        head: Head,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if not phi or features < 0:
            msg = (
                f"{name}: phi is {list(phi)} and features {features}; needed: a layer in phi, >= 0"
            )
            raise ConfigError(msg)
        self.constituents, self.features, self.activation = constituents, features, activation
        widths = [phi[-1] + features, *f]
        self.phi = dense([constituents, *phi], activation=activation, where=f"{name} phi")
        self.f = nn.Sequential(
            *dense(widths, activation=activation, where=f"{name} f"),
            output_layer(widths[-1], head.outputs),
        )
        self.widths = {"phi": list(phi), "f": list(f)}
        self.head = head

    @property
    def config(self) -> dict[str, Any]:
        """Constructor keywords, as JSON can hold them."""
        return {
            "constituents": self.constituents,
            "features": self.features,
            **self.widths,
            "head": described(self.head),
            "activation": self.activation,
        }

    def outputs(self, batch: Batch) -> Tensor:
        """Return the raw outputs, (rows, head.outputs).

        Raises:
            ShapeError: if the batch has other numbers of features.
        """
        rows = batch.rows
        constituents = None if batch.constituents is None else batch.constituents.packed()
        values = checked(
            None if constituents is None else constituents.values,
            self.constituents,
            model=self,
            what="constituents",
        )
        latent = values.new_zeros(0, self.widths["phi"][-1])
        if constituents is not None and rows:
            latent = self._pooled(Ragged(values, constituents.offsets))
        if self.features:
            features = checked(batch.features, self.features, model=self, what="features")
            latent = torch.cat([latent, features], dim=1)
        raw: Tensor = self.f(latent)
        return raw

    def split(self, values: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return what Phi sees of each constituent, (items, F), and its weight in the sum, or None.

        Shapes:
            values: (items, constituents) -> (items, inputs of Phi), (items, 1)
        """
        return values, None

    def _pooled(self, jets: Ragged) -> Tensor:
        """Return the sum of Phi over the constituents of each row."""
        seen, weights = self.split(jets.values)
        if not torch.is_grad_enabled():
            return set_sums(self.phi, seen, jets.offsets, weights=weights)
        block = BLOCK if jets.values.is_cpu else GPU_BLOCK
        return torch.cat(
            [jets.select(rows).map(self._weighted).sum() for rows in jets.blocks(block)]
        )

    def _weighted(self, values: Tensor) -> Tensor:
        """Return what each constituent adds to the sum, (items, width)."""
        seen, weights = self.split(values)
        latent: Tensor = self.phi(seen)
        return latent if weights is None else latent * weights
