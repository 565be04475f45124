"""What the studies of topo-clusters share: which clusters they show, at which energies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hepcalib import hists
from hepcalib.processors.columns import floats

if TYPE_CHECKING:
    from collections.abc import Mapping

    import awkward as ak
    from hist import Hist
    from numpy.typing import NDArray

__all__ = [
    "BEST",
    "EM",
    "LCW",
    "cluster_columns",
    "fill_spectra",
    "given_energies",
    "is_measurable",
]

EM, LCW, BEST = "EM", "LCW", "Best possible"


def is_measurable(clusters: ak.Array) -> NDArray[np.bool_]:
    """Tell where there is a response: not for noise, which has no true or a negative energy."""
    return ~((floats(clusters, "true_energy") <= 0) | (floats(clusters, "energy") <= 0))


def cluster_columns(clusters: ak.Array) -> dict[str, NDArray[Any]]:
    """Return what the columns of every study of clusters begin with: which each is, and its truth.

    Those are `run`, `event`, `index`, `weight`, and `energy` and `true_energy` in GeV.
    """
    names = ("run", "event", "index", "weight", "energy", "true_energy")
    return {name: np.asarray(clusters[name]) for name in names}


def given_energies(clusters: ak.Array) -> dict[str, NDArray[np.float64]]:
    """Return the energies [GeV] that the ntuple gives, NaN where it has none.

    EM, LCW (the hadronic weight alone: the true energy is local) and, for simulated clusters, the
    best possible: with the exact median response.
    """
    measured = floats(clusters, "energy")
    return {
        EM: measured,
        LCW: measured * floats(clusters, "had_weight"),
        BEST: measured / floats(clusters, "oracle_response"),
    }


def fill_spectra(
    energies: Mapping[str, NDArray[np.float64]], weight: NDArray[np.float64]
) -> Hist[Any]:
    """Return the spectrum of every scale.

    Args:
        energies: Scale -> energy [GeV] (rows,), NaN where there is none.
        weight: Event weights (rows,).
    """
    histogram = hists.spectrum(tuple(energies))
    for scale, energy in energies.items():
        known = ~np.isnan(energy)
        hists.fill_spectrum(histogram, scale=scale, values=energy[known], weight=weight[known])
    return histogram
