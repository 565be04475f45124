"""Soft drop and trimming of many jets at once."""

from __future__ import annotations

import awkward as ak
import numpy as np

from hepcalib.samples.jets.clustering import sequence
from hepcalib.samples.jets.particles import Array, FourVectors

__all__ = ["soft_drop_mass", "trimmed_mass"]

_ALL_IN_ONE = 10.0  # a radius that merges whatever is in a jet


def soft_drop_mass(
    constituents: FourVectors, counts: Array, *, radius: float, symmetry_cut: float = 0.1
) -> Array:
    r"""Return the soft-drop masses for beta = 0 (modified mass drop).

    The jet is reclustered with Cambridge/Aachen and declustered along the harder branch until
    :math:`\min(p_{T1}, p_{T2})/(p_{T1} + p_{T2}) > z_{cut}`.

    Reference: arXiv:1402.2657, arXiv:1307.0007.

    Args:
        constituents: Momenta, jet after jet.
        counts: Number of constituents of each jet, at least 1.
        radius: R of the jets.
        symmetry_cut: z_cut.

    Shapes:
        constituents: (constituents,), counts: (jets,) -> (jets,)
    """
    if len(counts) == 0:
        return np.zeros(0)
    clustered = sequence(constituents, counts, algorithm="cambridge", radius=_ALL_IN_ONE)
    groomed = clustered.exclusive_jets_softdrop_grooming(
        njets=1, beta=0.0, symmetry_cut=symmetry_cut, symmetry_measure="scalar_z", R0=radius
    )
    return np.maximum(np.asarray(groomed.msoftdrop, np.float64), 0.0)


def trimmed_mass(
    constituents: FourVectors, counts: Array, *, radius: float = 0.2, fraction: float = 0.05
) -> Array:
    """Return the masses after trimming: kt subjets below a fraction of the jet's pt are dropped.

    Reference: arXiv:0912.1342.

    Args:
        constituents: Momenta, jet after jet.
        counts: Number of constituents of each jet.
        radius: R of the subjets.
        fraction: Smallest pt of a subjet over that of the jet.

    Shapes:
        constituents: (constituents,), counts: (jets,) -> (jets,)
    """
    if len(counts) == 0:
        return np.zeros(0)
    jets = len(counts)
    jet_of_constituent = np.repeat(np.arange(jets), counts)
    whole = _sums(constituents, jet_of_constituent, jets)
    clustered = sequence(constituents, counts, algorithm="kt", radius=radius)
    found = clustered.inclusive_jets(min_pt=0.0)
    jet = np.repeat(np.arange(jets), np.asarray(ak.num(found)))
    flat = ak.flatten(found)
    subjets = FourVectors(jet, *(np.asarray(flat[name]) for name in ("px", "py", "pz", "E")))
    kept = subjets.select(subjets.pt >= fraction * whole.pt[jet])
    return _sums(kept, kept.row, jets).mass


def _sums(momenta: FourVectors, group: Array, groups: int) -> FourVectors:
    """Return the sum of the momenta of each group."""
    components = (momenta.px, momenta.py, momenta.pz, momenta.energy)
    sums = (np.bincount(group, weights=x, minlength=groups) for x in components)
    return FourVectors(np.arange(groups), *sums)
