"""The truth of jets: which decays and which parton they came from."""

from __future__ import annotations

import numpy as np

from hepcalib.samples.jets.particles import Array, FourVectors, pairs, wrap

__all__ = ["OF_PROCESS", "OTHER", "QCD", "TOP", "W_BOSON", "flavours", "labels"]

OTHER, QCD, W_BOSON, TOP = -1, 0, 1, 2
OF_PROCESS = {"qcd": {QCD}, "wprime": {W_BOSON}, "top": {W_BOSON, TOP}}  # besides OTHER


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


def flavours(
    jets: FourVectors, partons: FourVectors, pdg_id: Array, *, label: Array, radius: float
) -> Array:
    """Return the PDG code of what each jet came from: 1 (u, d, s), 4, 5, 21, 24 or 6, else 0.

    A jet labelled W or top has the code of that; any other one that of the parton of the hard
    process with the largest pt within R.

    Args:
        jets: Momenta of the jets, ordered by event.
        partons: Momenta of the quarks and gluons of the hard process, ordered by event.
        pdg_id: Their PDG codes.
        label: What `labels` returned.
        radius: R.

    Shapes:
        jets, label: (jets,), partons, pdg_id: (partons,) -> (jets,) int32
    """
    rows = 1 + max(jets.row.max(initial=0), partons.row.max(initial=0))
    left, right = pairs(jets.row, partons.row, rows=rows)
    separation = np.hypot(
        jets.eta[left] - partons.eta[right], wrap(jets.phi[left] - partons.phi[right])
    )
    left, right = left[separation < radius], right[separation < radius]
    rising = np.argsort(partons.pt[right], kind="stable")
    absolute = np.abs(pdg_id[right[rising]])
    found = np.zeros(len(jets.row), np.int32)
    found[left[rising]] = np.where(absolute <= 3, 1, absolute)  # of several, the last one stays
    return np.select([label == TOP, label == W_BOSON], [6, 24], default=found).astype(np.int32)
