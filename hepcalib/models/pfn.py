"""The particle flow network: a set of constituents per object."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn

from hepcalib.exceptions import ConfigError
from hepcalib.models.layers import dense, output_layer
from hepcalib.models.model import Model, checked, described
from hepcalib.ragged import Ragged

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from hepcalib.batch import Batch
    from hepcalib.models.heads import Head

__all__ = ["PFN"]

BLOCK = 4096  # constituents at a time, so that their latent values stay in the processor's cache


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
        if not phi or features < 0:
            msg = f"PFN: phi is {list(phi)} and features {features}; needed: a layer in phi, >= 0"
            raise ConfigError(msg)
        self.constituents, self.features, self.activation = constituents, features, activation
        widths = [phi[-1] + features, *f]
        self.phi = dense([constituents, *phi], activation=activation, where="PFN phi")
        self.f = nn.Sequential(
            *dense(widths, activation=activation, where="PFN f"),
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
        pooled = [values.new_zeros(0, self.widths["phi"][-1])]
        if constituents is not None and rows:
            jets = Ragged(values, constituents.offsets)
            pooled = [jets.select(block).map(self.phi).sum() for block in jets.blocks(BLOCK)]
        latent = torch.cat(pooled)
        if self.features:
            features = checked(batch.features, self.features, model=self, what="features")
            latent = torch.cat([latent, features], dim=1)
        raw: Tensor = self.f(latent)
        return raw
