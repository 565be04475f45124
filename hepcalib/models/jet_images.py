"""The convolutional network: a jet as an image."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn

from hepcalib.exceptions import ConfigError
from hepcalib.models import images
from hepcalib.models.layers import dense, output_layer
from hepcalib.models.model import Model, checked, described
from hepcalib.ragged import Ragged

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from hepcalib.batch import Batch
    from hepcalib.models.heads import Head

__all__ = ["JetImages"]

CELLS = 4_194_304  # numbers in the largest patches of a block: 16 MiB in single precision
CHANNELS = 2
MOST_PIXELS = 512  # in each direction


class JetImages(Model):
    r"""Convolutional network on images of the transverse momentum and of the multiplicity.

    .. math:: F(\mathrm{flatten}(C_n \circ \ldots \circ C_1(I)), x), \quad
        C(I)_{fab} = \max_{pool} \mathrm{act}\left(\sum_{cij} w_{fcij} I_{c,a+i,b+j} + b_f\right)

    An image is made of the first three features of the constituents, z, y and phi: it is centred,
    rotated to a vertical principal axis and flipped (see ``hepcalib.models.images``). The first
    channel is that of z, normalised to 1, the second counts constituents. A jet without
    constituents is an image of zeros. Convolutions have no padding and are products of patches with
    a linear layer. What further features tell, other than the charge, is not seen.

    The default is a small version of 1612.01551: 8 filters of 8, 4 and 4 pixels a side. A larger
    one for 40 pixels is ``pixels=40, filters=(64, 32, 32, 32), kernels=(4, 4, 4, 4),
    pools=(1, 2, 1, 2), f=(32, 64, 64)``.

    Reference: arXiv:1612.01551, arXiv:1810.05165.

    Args:
        constituents: Number of features per constituent, at least 3.
        features: Number of features x of the jet beside its constituents.
        pixels: Number of pixels in each direction.
        half_width: Half the side of the image, in y and in phi [rad]; the radius of the jets.
        charged: Which feature of the constituents is other than 0 for those that the second
            channel counts, from 0; None to count all.
        rotate: Whether images are rotated.
        flip: Whether they are flipped.
        filters: Number of filters of each convolution.
        kernels: Pixels a side of the filters of each convolution.
        pools: Pixels a side of which the largest is kept after each convolution; 1 keeps all.
        f: Widths of the hidden layers of F.
        head: What the outputs mean.
        activation: One of double_silu, elu, gelu, relu, shifted_tanh, silu, tanh.

    Raises:
        ConfigError: if a number is out of range, nothing is left of the image after the
            convolutions, or the activation is unknown.
    """

    leading: ClassVar[tuple[str, ...]] = (
        "constituent.momentum_fraction",
        "constituent.rapidity_offset",
        "constituent.azimuth_offset",
    )
    constituent_modules: ClassVar[tuple[str, ...]] = ("convolutions",)

    def __init__(
        self,
        *,
        constituents: int,
        features: int = 0,
        pixels: int = 33,
        half_width: float = 0.8,
        charged: int | None = None,
        rotate: bool = True,
        flip: bool = True,
        filters: Sequence[int] = (8, 8, 8),
        kernels: Sequence[int] = (8, 4, 4),
        pools: Sequence[int] = (2, 2, 2),
        f: Sequence[int] = (50,),
        head: Head,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        _require_columns(constituents, features, charged, half_width)
        sizes = _sizes(pixels, filters, kernels, pools)
        self.constituents, self.features = constituents, features
        self.pixels, self.half_width, self.charged = pixels, half_width, charged
        self.rotate, self.flip, self.activation = rotate, flip, activation
        inputs = [CHANNELS, *filters]
        areas = [width * side**2 for width, side in zip(inputs, kernels, strict=False)]
        self.convolutions = nn.ModuleList(
            dense([area, width], activation=activation, where="JetImages filters")
            for area, width in zip(areas, filters, strict=True)
        )
        self._cells = max(area * side**2 for area, side in zip(areas, sizes, strict=False))
        self._pixels_left = inputs[-1] * sizes[-1] ** 2
        widths = [self._pixels_left + features, *f]
        self.f = nn.Sequential(
            *dense(widths, activation=activation, where="JetImages f"),
            output_layer(widths[-1], head.outputs),
        )
        self.widths = {
            "filters": list(filters),
            "kernels": list(kernels),
            "pools": list(pools),
            "f": list(f),
        }
        self.head = head

    @property
    def config(self) -> dict[str, Any]:
        """Constructor keywords, as JSON can hold them."""
        return {
            "constituents": self.constituents,
            "features": self.features,
            "pixels": self.pixels,
            "half_width": self.half_width,
            "charged": self.charged,
            "rotate": self.rotate,
            "flip": self.flip,
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
        parts = [values.new_zeros(0, self._pixels_left)]
        if constituents is not None and rows:
            jets = Ragged(values, constituents.offsets)
            step = max(1, CELLS // self._cells)
            blocks = [slice(start, start + step) for start in range(0, rows, step)]
            parts = [self._convolved(self.images(jets.select(block))) for block in blocks]
        latent = torch.cat(parts)
        if self.features:
            features = checked(batch.features, self.features, model=self, what="features")
            latent = torch.cat([latent, features], dim=1)
        raw: Tensor = self.f(latent)
        return raw

    def images(self, jets: Ragged) -> Tensor:
        """Return what the network sees of its constituents, (rows, 2, pixels, pixels)."""
        packed = jets.packed()
        values = packed.values
        points = images.centred(Ragged(values[:, :3].detach(), packed.offsets))
        points = images.rotated(points) if self.rotate else points
        points = images.flipped(points) if self.flip else points
        counted = torch.ones_like(values[:, 0])
        if self.charged is not None:
            counted = (values[:, self.charged] != 0).to(values.dtype)
        image = images.pixelated(
            points,
            torch.stack([values[:, 0], counted], dim=1),
            pixels=self.pixels,
            half_width=self.half_width,
        )
        return torch.cat([images.normalised(image[:, :1]), image[:, 1:]], dim=1)

    def _convolved(self, image: Tensor) -> Tensor:
        """Return what the convolutions make of images (n, C, pixels, pixels), (n, F)."""
        latent = image.permute(0, 2, 3, 1)
        layers = zip(self.convolutions, self.widths["kernels"], self.widths["pools"], strict=True)
        for layer, kernel, pool in layers:
            patches = latent.unfold(1, kernel, 1).unfold(2, kernel, 1)
            rows, side = patches.shape[:2]
            latent = layer(patches.reshape(rows * side**2, -1)).reshape(rows, side, side, -1)
            side //= pool
            if pool > 1:
                kept = latent[:, : side * pool, : side * pool]
                latent = kept.reshape(rows, side, pool, side, pool, -1).amax((2, 4))
        return latent.permute(0, 3, 1, 2).flatten(1)


def _require_columns(
    constituents: int, features: int, charged: int | None, half_width: float
) -> None:
    known = charged is None or 0 <= charged < constituents
    if constituents < 3 or features < 0 or not known or not 0.0 < half_width < math.inf:
        msg = (
            f"JetImages: constituents is {constituents}, features {features}, charged {charged}, "
            f"half_width {half_width}; needed: >= 3 (z, y, phi first), >= 0, one of the former or "
            "none, positive"
        )
        raise ConfigError(msg)


def _sizes(
    pixels: int, filters: Sequence[int], kernels: Sequence[int], pools: Sequence[int]
) -> list[int]:
    """Return the side of the image after each convolution, the last one after its pooling."""
    sizes, side = [], pixels
    known = 1 <= len(filters) == len(kernels) == len(pools) and min(*kernels, *pools) >= 1
    for kernel, pool in zip(kernels, pools, strict=True) if known else ():
        sizes.append(side - kernel + 1)
        side = max(sizes[-1], 0) // pool
    if not known or side < 1 or pixels > MOST_PIXELS:
        msg = (
            f"JetImages: pixels is {pixels}, filters {list(filters)}, kernels {list(kernels)}, "
            f"pools {list(pools)}; needed: equally many, at most {MOST_PIXELS} "
            "pixels, and a pixel left after them"
        )
        raise ConfigError(msg)
    return [*sizes, side]
