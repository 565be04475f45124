"""ParticleNet-Lite: ParticleNet of fewer neighbours and smaller layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hepcalib.models.particle_net import ParticleNet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hepcalib.models.heads import Head

__all__ = ["ParticleNetLite"]


class ParticleNetLite(ParticleNet):
    """The smaller `ParticleNet` of the same paper, which differs in the sizes only.

    Reference: arXiv:1902.08570.

    Args:
        constituents: Number of features per constituent; the first are rapidity and azimuth.
        features: Number of features of the object beside its constituents.
        k: Number of neighbours.
        edge_conv: Widths of the layers of each edge convolution.
        f: Widths of the hidden layers after the pooling.
        dropout: Share of the hidden values after the pooling that is dropped in training.
        head: What the outputs mean.
    """

    def __init__(
        self,
        *,
        constituents: int,
        features: int = 0,
        k: int = 7,
        edge_conv: Sequence[Sequence[int]] = ((32, 32, 32), (64, 64, 64)),
        f: Sequence[int] = (128,),
        dropout: float = 0.1,
        head: Head,
    ) -> None:
        super().__init__(
            constituents=constituents,
            features=features,
            k=k,
            edge_conv=edge_conv,
            f=f,
            dropout=dropout,
            head=head,
        )
