"""LorentzNet: messages between constituents that depend on Lorentz invariants only."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from hepcalib.exceptions import ConfigError
from hepcalib.models.layers import output_layer
from hepcalib.models.layouts import Layout, cells_on, in_order, layouts, packed
from hepcalib.models.model import Model, checked, described
from hepcalib.models.normalisation import BatchNorm

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hepcalib.batch import Batch
    from hepcalib.models.heads import Head

__all__ = ["LorentzNet"]

MOMENTUM = 4  # columns that are the four-momentum
BLOCK = 16_384  # pairs of constituents of the jets at a time in a prediction
PAIRS = 2048  # of these at a time, so that their latent values stay in the processor's cache
FIRST_WEIGHTS = 0.001  # gain of those of f_x: the momenta hardly move at first


class LorentzNet(Model):
    r"""Graph network on all pairs of constituents, invariant under rotations and boosts.

    .. math:: m_{ij} = f_e\left(h_i, h_j, \psi((x_i - x_j)^2), \psi(x_i \cdot x_j)\right), \quad
        \psi(z) = \mathrm{sgn}(z) \ln(1 + |z|)

    .. math:: x_i \leftarrow x_i + c \sum_{j \neq i} f_x(m_{ij}) x_j, \quad
        h_i \leftarrow h_i + f_h\left(h_i, \sum_{j \neq i} f_m(m_{ij}) m_{ij}, s_i\right), \quad
        r = F(\langle h_i \rangle_i, x)

    x starts as the four-momentum in GeV, h as a linear function of the scalars s: the columns after
    the momentum, or psi(m^2 / GeV^2) of the constituent if there are none. The outputs are as
    invariant as these scalars and the features of the jet are. There are no beam particles among
    the constituents, which would leave rotations around the beam and boosts along it only.

    x and the invariants are computed in double precision whatever that of the network is: they are
    small differences of large numbers. The momenta of a batch have to be double as well, as those
    of `Inputs` are: rounded to single precision, their invariants change from frame to frame.

    With two outputs there are 223,568 parameters for one scalar and 224,072 for two. In training
    all pairs of the batch are in memory together, in a prediction messages of 2048 of them (64
    times as many on a GPU).

    Reference: arXiv:2201.08187.

    Args:
        constituents: Number of features per constituent: E, px, py, pz [GeV], and the scalars.
        features: Number of features of the object beside its constituents.
        hidden: Width of all layers.
        blocks: Number of blocks; the last one leaves the momenta as they are.
        c: Size of the steps of the momenta.
        dropout: Probability of a value in F to be dropped in training.
        head: What the outputs mean.

    Raises:
        ConfigError: if a width or number is out of range.
    """

    constituent_modules: ClassVar[tuple[str, ...]] = ("embed", "body")
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
        hidden: int = 72,
        blocks: int = 6,
        c: float = 5e-3,
        dropout: float = 0.2,
        head: Head,
    ) -> None:
        super().__init__()
        if constituents < MOMENTUM or features < 0 or hidden < 1 or blocks < 1:
            msg = (
                f"LorentzNet: constituents is {constituents}, features {features}, hidden {hidden},"
                f" blocks {blocks}; needed: at least {MOMENTUM}, 0, 1 and 1"
            )
            raise ConfigError(msg)
        if not math.isfinite(c) or not 0.0 <= dropout < 1.0:
            msg = f"LorentzNet: c is {c}, dropout {dropout}; needed: finite, at least 0 and below 1"
            raise ConfigError(msg)
        self.constituents, self.features = constituents, features
        self.sizes = {"hidden": hidden, "blocks": blocks, "c": c, "dropout": dropout}
        scalars = max(1, constituents - MOMENTUM)
        self.embed = nn.Linear(scalars, hidden)
        self.body = nn.ModuleList(
            _Block(hidden, scalars, c=c, last=number == blocks - 1) for number in range(blocks)
        )
        self.f = nn.Sequential(
            nn.Linear(hidden + features, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            output_layer(hidden, head.outputs),
        )
        self.head = head

    @property
    def config(self) -> dict[str, Any]:
        """Constructor keywords, as JSON can hold them."""
        return {
            "constituents": self.constituents,
            "features": self.features,
            **self.sizes,
            "head": described(self.head),
        }

    def outputs(self, batch: Batch) -> Tensor:
        """Return the raw outputs, (rows, head.outputs).

        Raises:
            ShapeError: if the batch has other numbers of features.
        """
        jets, values = packed(batch, self.constituents, model=self)
        momenta = jets.values[:, :MOMENTUM].double()
        scalars = values[:, MOMENTUM:]
        if self.constituents == MOMENTUM:
            scalars = _psi(minkowski(momenta, momenta)).to(values.dtype).unsqueeze(1)
        groups = layouts(jets, BLOCK, together=self.training)
        pooled = []
        for group in groups:
            s = scalars.index_select(0, group.items)
            latent = self._latent(momenta.index_select(0, group.items), s, group)
            pooled.append(group.ragged(latent).mean())
        latent = in_order(pooled, [group.rows for group in groups])
        if self.features:
            features = checked(batch.features, self.features, model=self, what="features")
            latent = torch.cat([latent, features], dim=1)
        raw: Tensor = self.f(latent)
        return raw

    def _latent(self, x: Tensor, s: Tensor, group: Layout) -> Tensor:
        """Return h after all blocks, (items, hidden)."""
        i, j = group.pairs()
        size = max(1, len(i)) if self.training else cells_on(PAIRS, i.device)
        h: Tensor = self.embed(s)
        for block in self.body:
            pairs = zip(torch.split(i, size), torch.split(j, size), strict=True)
            x, h = block(x, h, s, pairs=pairs)
        return h


def minkowski(a: Tensor, b: Tensor) -> Tensor:
    """Return the products of four-vectors (E, px, py, pz), (..., 4) -> (...)."""
    products = a * b
    return products[..., 0] - products[..., 1:].sum(-1)


def _psi(z: Tensor) -> Tensor:
    return z.sign() * z.abs().log1p()


class _Block(nn.Module):
    """One exchange of messages between all constituents of each jet."""

    def __init__(self, hidden: int, scalars: int, *, c: float, last: bool) -> None:
        super().__init__()
        self.c = c
        # One layer on (h_i, h_j, invariants), whose first part is computed once for all j.
        inputs = 2 * hidden + 2
        self.first = _part_of_a_layer(hidden, hidden, inputs=inputs)
        self.second = _part_of_a_layer(hidden, hidden, inputs=inputs)
        self.invariants = _part_of_a_layer(2, hidden, inputs=inputs)
        self.message = nn.Sequential(
            BatchNorm(hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
        )
        self.share = nn.Sequential(nn.Linear(hidden, 1), nn.Sigmoid())
        self.update = nn.Sequential(
            nn.Linear(2 * hidden + scalars, hidden),
            BatchNorm(hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
        )
        self.step: nn.Sequential | None = None
        if not last:
            step = nn.Linear(hidden, 1, bias=False)
            nn.init.xavier_uniform_(step.weight, gain=FIRST_WEIGHTS)
            self.step = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(inplace=True), step)

    def forward(
        self, x: Tensor, h: Tensor, s: Tensor, *, pairs: Iterator[tuple[Tensor, Tensor]]
    ) -> tuple[Tensor, Tensor]:
        """Return the new x, (items, 4), and h, (items, hidden).

        Args:
            x: Four-vectors, in double precision.
            h: Latent scalars.
            s: Scalars.
            pairs: Items i and j of the pairs of a block, (pairs,) each.
        """
        first, second = self.first(h), self.second(h)
        received, moved = torch.zeros_like(h), torch.zeros_like(x)
        for i, j in pairs:
            x_i, x_j = x.index_select(0, i), x.index_select(0, j)
            difference = x_i - x_j
            products = torch.stack([minkowski(difference, difference), minkowski(x_i, x_j)], dim=1)
            latent = first.index_select(0, i) + second.index_select(0, j)
            message = self.message(latent + self.invariants(_psi(products).to(h.dtype)))
            received = received.index_add(0, i, self.share(message) * message)
            if self.step is not None:
                moved = moved.index_add(0, i, self.step(message).double() * x_j)
        updated: Tensor = self.update(torch.cat([h, received, s], dim=1))
        return x + self.c * moved, h + updated


def _part_of_a_layer(width: int, outputs: int, *, inputs: int) -> nn.Linear:
    """Return the columns of a layer of more inputs, without bias, as torch initialises them."""
    linear = nn.Linear(width, outputs, bias=False)
    bound = inputs**-0.5
    nn.init.uniform_(linear.weight, -bound, bound)
    return linear
