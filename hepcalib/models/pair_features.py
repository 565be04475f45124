"""What two particles of a jet have in common: their angle, splitting and mass."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["PAIR_FEATURES", "pair_features"]

PAIR_FEATURES = 4
LEAST = 1e-8  # of everything a logarithm is taken of: rad, GeV, GeV^2 or a ratio
TINY = 1e-60  # GeV^2 or rad^2: far below any momentum or angle; its root has a finite derivative


def pair_features(momenta: Tensor, i: Tensor, j: Tensor) -> Tensor:
    r"""Return the logarithms of relative pT, momentum share, angle and mass of pairs.

    .. math:: \ln k_T = \ln(\min(p_{Ti}, p_{Tj}) \Delta R), \quad
        \ln z = \ln \frac{\min(p_{Ti}, p_{Tj})}{p_{Ti} + p_{Tj}}, \quad
        \ln \Delta R = \tfrac12 \ln(\Delta y^2 + \Delta\phi^2), \quad
        \ln m^2 = \ln (p_i + p_j)^2

    Each argument of a logarithm is at least 1e-8. They are computed in double precision: the mass
    is a small difference of large numbers. Both orders of a pair give the same.

    Reference: arXiv:2202.03772.

    Args:
        momenta: E, px, py, pz [GeV] of the particles.
        i: Number of the first particle of each pair.
        j: Number of the second one.

    Shapes:
        momenta: (items, 4); i, j: (pairs,) -> (pairs, 4) float64
    """
    momenta = momenta.double()
    energy, px, py, pz = momenta.unbind(1)
    pt2 = px.square() + py.square()
    transverse_mass2 = torch.maximum(energy.square() - pz.square(), pt2).clamp(min=TINY)
    rapidity = torch.asinh(pz / transverse_mass2.sqrt())
    single = torch.stack([pt2.clamp(min=TINY).sqrt(), rapidity, torch.atan2(py, px)], dim=1)
    pt, y, phi = torch.stack([single.index_select(0, i), single.index_select(0, j)]).unbind(2)
    azimuth = torch.remainder(phi[0] - phi[1] + math.pi, 2 * math.pi) - math.pi
    angle = ((y[0] - y[1]).square() + azimuth.square()).clamp(min=TINY).sqrt()
    softer = pt.amin(0)
    total = momenta.index_select(0, i) + momenta.index_select(0, j)
    mass2 = total[:, 0].square() - total[:, 1:].square().sum(1)
    share = softer / pt.sum(0)
    return torch.stack([softer * angle, share, angle, mass2], dim=1).clamp(min=LEAST).log()
