"""The truth labels of jets."""

from __future__ import annotations

import numpy as np

from hepcalib.samples.jets.particles import Array, FourVectors, wrap

__all__ = ["OTHER", "QCD", "TOP", "W_BOSON", "labels"]

OTHER, QCD, W_BOSON, TOP = -1, 0, 1, 2


def labels(jets: FourVectors, quarks: Array, *, radius: float) -> Array:
    """Return 2 for a jet with the three quarks of a top within R, 1 with the two of a W, else -1.

    In a process without hadronic W bosons every jet is QCD, 0.

    Args:
        jets: Momenta of the jets.
        quarks: eta and phi of the W's two quarks and the top's third one, NaN if there is none.
        radius: R.

    Shapes:
        jets: (jets,), quarks: (rows, bosons, 3, 2) -> (jets,) int32
    """
    if quarks.shape[1] == 0:
        return np.full(len(jets.row), QCD, np.int32)
    directions = quarks[jets.row]
    delta_eta = directions[..., 0] - jets.eta[:, None, None]
    delta_phi = wrap(directions[..., 1] - jets.phi[:, None, None])
    inside = np.hypot(delta_eta, delta_phi) < radius
    has_w = inside[..., :2].all(axis=-1)
    has_top = has_w & inside[..., 2]
    return np.select(
        [has_top.any(axis=-1), has_w.any(axis=-1)], [TOP, W_BOSON], default=OTHER
    ).astype(np.int32)
