"""The energy flow network: a set of constituents per object, infrared and collinear safe."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch

from hepcalib.exceptions import ConfigError, ShapeError
from hepcalib.models.pfn import PFN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from hepcalib.models.heads import Head

__all__ = ["EFN"]

COLUMNS = 3  # momentum fraction, two angles


class EFN(PFN):
    r"""Energy flow network: a `PFN` that is linear in the momentum fractions z of constituents.

    .. math:: F\left(\sum_i z_i \Phi(\hat p_i), x\right)

    Phi sees the angles only, so that neither a constituent that is split into collinear ones,
    z to l z and (1 - l) z, nor one of z = 0 changes the outputs. Features x of the object keep
    this property only if they have it themselves.

    Reference: arXiv:1810.05165.

    Args:
        constituents: Number of features per constituent: 3, which are z and the angles rapidity
            and azimuth relative to the axis of the jet; any other would spoil the safety.
        features: Number of features x of the object beside its constituents.
        phi: Widths of the layers of Phi.
        f: Widths of the hidden layers of F.
        head: What the outputs mean.
        activation: One of double_silu, elu, gelu, relu, shifted_tanh, silu, tanh.

    Raises:
        ConfigError: if there are not 3 features per constituent, a width is not positive or the
            activation is unknown.
    """

    leading: ClassVar[tuple[str, ...]] = (
        "constituent.momentum_fraction",
        "constituent.rapidity_offset",
        "constituent.azimuth_offset",
    )

    def __init__(
        self,
        *,
        constituents: int = COLUMNS,
        features: int = 0,
        phi: Sequence[int] = (100, 100, 256),
        f: Sequence[int] = (100, 100, 100),
        head: Head,
        activation: str = "relu",
    ) -> None:
        if constituents != COLUMNS:
            msg = (
                f"EFN: constituents is {constituents}; needed: {COLUMNS}, the momentum fraction "
                "and two angles, or it is not infrared and collinear safe"
            )
            raise ConfigError(msg)
        super().__init__(
            constituents=COLUMNS - 1,
            features=features,
            phi=phi,
            f=f,
            head=head,
            activation=activation,
        )
        self.constituents = COLUMNS

    def split(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Return the angles and the momentum fractions, (items, 3) -> (items, 2), (items, 1)."""
        return values[:, 1:], values[:, :1]

    @torch.no_grad()
    def filters(self, angles: Tensor) -> Tensor:
        r"""Return what each latent value weights a direction with, Phi(angles).

        Args:
            angles: Rapidity and azimuth [rad] relative to the axis of the jet.

        Shapes:
            angles: (directions, 2) -> (directions, phi[-1])

        Raises:
            ShapeError: if the angles are not two.
        """
        if angles.dim() != 2 or angles.shape[1] != COLUMNS - 1:
            msg = f"EFN: angles of shape {tuple(angles.shape)}; needed: (directions, 2)"
            raise ShapeError(msg)
        filters: Tensor = self.phi(angles.to(next(self.parameters()).dtype))
        return filters
