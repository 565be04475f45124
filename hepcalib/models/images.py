"""Jet images: constituents centred, rotated, flipped, put into pixels and normalised.

Points are constituents in the plane of rapidity y and azimuth phi: rows of (weight, y, phi), where
the weight is the transverse momentum, or its share in the jet, and phi is relative to the jet, so
that it does not wrap. Reference: arXiv:1407.5675, arXiv:1511.05190, arXiv:1612.01551.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from hepcalib.exceptions import ShapeError
from hepcalib.ragged import Ragged

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["centred", "flipped", "normalised", "pixelated", "rotated"]

ON_AXIS = 1e-6  # closer to an axis a point is on neither side of it, as far as rounding allows
SHIFT = 1e-4  # of the grid [pixels]: what lies on an edge up to rounding is in one pixel


def centred(points: Ragged) -> Ragged:
    r"""Return the points relative to their mean.

    .. math:: y_i - \frac{\sum_j w_j y_j}{\sum_j w_j}, \quad
        \phi_i - \frac{\sum_j w_j \phi_j}{\sum_j w_j}

    Args:
        points: Weights of at least 0, y and phi [rad].

    Shapes:
        points: (items, 3) in rows -> the same
    """
    points, weight, place = _parts(points)
    sums = Ragged(torch.cat([weight, weight * place], dim=1), points.offsets).sum()
    total = sums[:, :1]
    mean = torch.where(total > 0, sums[:, 1:] / torch.where(total > 0, total, 1.0), 0.0)
    return _moved(points, place - points.repeat(mean))


def rotated(points: Ragged) -> Ragged:
    r"""Return centred points whose principal axis is vertical, the axis of phi.

    .. math:: y' = y \sin\alpha - \phi \cos\alpha, \quad \phi' = y \cos\alpha + \phi \sin\alpha,
        \quad \alpha = \tfrac12 \operatorname{atan2}\left(2 \sum w y \phi,
        \sum w y^2 - \sum w \phi^2\right)

    Which end of the axis is up is left to `flipped`. The angle has no gradient.

    Args:
        points: Weights, y and phi [rad], centred.

    Shapes:
        points: (items, 3) in rows -> the same
    """
    points, weight, place = _parts(points)
    y, phi = place.unbind(1)
    products = torch.stack([2.0 * y * phi, y * y - phi * phi], dim=1)
    moments = Ragged((weight * products).detach(), points.offsets).sum()
    angle = points.repeat(0.5 * torch.atan2(moments[:, 0], moments[:, 1]))
    sine, cosine = angle.sin(), angle.cos()
    return _moved(points, torch.stack([y * sine - phi * cosine, y * cosine + phi * sine], dim=1))


def flipped(points: Ragged) -> Ragged:
    r"""Return centred points mirrored so that the larger weight is right (y > 0) and up (phi > 0).

    .. math:: y' = y \, \mathrm{sgn} \sum_j w_j \, \mathrm{sgn}\, y_j, \quad
        \phi' = \phi \, \mathrm{sgn} \sum_j w_j \, \mathrm{sgn}\, \phi_j

    Args:
        points: Weights, y and phi [rad], centred.

    Shapes:
        points: (items, 3) in rows -> the same
    """
    points, weight, place = _parts(points)
    side = torch.where(place.abs() > ON_AXIS, place, 0.0).sign()
    excess = Ragged((weight * side).detach(), points.offsets).sum()
    return _moved(points, place * points.repeat(torch.where(excess < 0, -1.0, 1.0).to(place)))


def pixelated(points: Ragged, quantities: Tensor, *, pixels: int, half_width: float) -> Tensor:
    r"""Return the sum of each quantity over the constituents in each pixel.

    .. math:: I_{cab} = \sum_i q_{ic} \left[\lfloor (\phi_i + r) n / 2 r \rfloor = a,
        \lfloor (y_i + r) n / 2 r \rfloor = b\right]

    The image covers \|y\|, \|phi\| < r; points outside are left out. The first index of a pixel
    grows with phi, the second with y. Differentiable in the quantities, not in the places. The
    grid is shifted by 1e-4 pixels, so that a point at 0 has one pixel if their number is even.

    Args:
        points: Weights, y and phi [rad]; the weights are not used.
        quantities: What is summed, such as the weight and 1.
        pixels: Number n of pixels in each direction.
        half_width: r.

    Shapes:
        points: (items, 3) in rows; quantities: (items, C) -> (rows, C, pixels, pixels)

    Raises:
        ShapeError: if there is not one quantity per constituent.
    """
    points, _, place = _parts(points)
    if quantities.dim() != 2 or len(quantities) != points.items:
        msg = f"pixelated: quantities {tuple(quantities.shape)}; needed: ({points.items}, C)"
        raise ShapeError(msg)
    cell = ((place.detach() + half_width) * (0.5 * pixels / half_width) + SHIFT).floor()
    inside = ((cell >= 0) & (cell < pixels)).all(1)
    y, phi = torch.where(inside.unsqueeze(1), cell, 0.0).long().unbind(1)
    beyond = points.rows * pixels**2  # one more cell, for the points outside
    index = torch.where(inside, (points.row_ids() * pixels + phi) * pixels + y, beyond)
    zeros = quantities.new_zeros(beyond + 1, quantities.shape[1])
    images = zeros.index_add(0, index, quantities)[:-1]
    return images.view(points.rows, pixels, pixels, -1).permute(0, 3, 1, 2)


def normalised(images: Tensor) -> Tensor:
    r"""Return images whose pixels sum to 1, in each channel; an empty one stays 0.

    .. math:: I_{cab} / \sum_{ab} I_{cab}

    Shapes:
        images: (rows, C, pixels, pixels) -> the same
    """
    total = images.sum((-2, -1), keepdim=True)
    return torch.where(total > 0, images / torch.where(total > 0, total, 1.0), 0.0)


def _parts(points: Ragged) -> tuple[Ragged, Tensor, Tensor]:
    """Return the packed points, their weights (items, 1) and their places (items, 2)."""
    packed = points.packed()
    if packed.values.dim() != 2 or packed.values.shape[1] != 3:
        msg = f"jet image: points of shape {tuple(packed.values.shape)}; needed: (items, 3)"
        raise ShapeError(msg)
    return packed, packed.values[:, :1], packed.values[:, 1:]


def _moved(points: Ragged, place: Tensor) -> Ragged:
    return Ragged(torch.cat([points.values[:, :1], place], dim=1), points.offsets)
