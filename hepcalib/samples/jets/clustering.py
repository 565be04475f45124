"""Anti-kt jets, their areas, the pile-up density and the matching to generator jets."""

from __future__ import annotations

from typing import Any, NamedTuple

import awkward as ak
import numpy as np

from hepcalib.samples.jets import extras
from hepcalib.samples.jets.particles import Array, Candidates, FourVectors, pairs, wrap

__all__ = ["Jets", "areas", "by_pt", "cluster", "density", "match", "sequence"]

_AREA_POINTS = 200
_DENSITY_ETA = 2.5
_DENSITY_CELLS = (9, 11)  # in eta and phi: about 0.55 x 0.57


class Jets(NamedTuple):
    """Jets by event and falling pt: momenta, numbers of constituents, indices of constituents.

    The constituents of jet j are `counts[j]` consecutive entries of `constituents`, indices into
    the clustered particles.
    """

    momenta: FourVectors
    counts: Array
    constituents: Array

    def select(self, mask: Array) -> Jets:
        """Return the jets of a mask."""
        kept = np.repeat(mask, self.counts)
        return Jets(self.momenta.select(mask), self.counts[mask], self.constituents[kept])


def sequence(momenta: FourVectors, counts: Array, *, algorithm: str, radius: float) -> Any:
    """Return fastjet's ClusterSequence of many sets of particles at once.

    Args:
        momenta: Momenta of all sets, one set after the other.
        counts: Number of particles of each set.
        algorithm: "antikt", "kt" or "cambridge".
        radius: R.

    Shapes:
        momenta: (particles,), counts: (sets,)
    """
    library = extras.fastjet()
    record = ak.zip(
        {"px": momenta.px, "py": momenta.py, "pz": momenta.pz, "E": momenta.energy},
        with_name="Momentum4D",
    )
    definition = library.JetDefinition(getattr(library, f"{algorithm}_algorithm"), radius)
    return library.ClusterSequence(ak.unflatten(record, counts), definition)


def cluster(particles: FourVectors, *, rows: int, radius: float, min_pt: float) -> Jets:
    """Return the anti-kt jets (arXiv:0802.1189) of all events.

    Args:
        particles: Momenta, ordered by event.
        rows: Number of events.
        radius: R.
        min_pt: Smallest pt of a jet [GeV].
    """
    counts = np.bincount(particles.row, minlength=rows)
    clustered = sequence(particles, counts, algorithm="antikt", radius=radius)
    found = clustered.inclusive_jets(min_pt=min_pt)
    links = clustered.constituent_index(min_pt=min_pt)
    row = np.repeat(np.arange(rows), np.asarray(ak.num(found)))
    flat = ak.flatten(found)
    momenta = FourVectors(row, *(np.asarray(flat[name]) for name in ("px", "py", "pz", "E")))
    sizes = np.asarray(ak.flatten(ak.num(links, axis=2)))
    starts = (np.cumsum(counts) - counts)[np.repeat(row, sizes)]
    constituents = np.asarray(ak.flatten(links, axis=None)).astype(np.int64) + starts
    order = np.lexsort((-momenta.pt, row))
    return Jets(momenta.select(order), sizes[order], constituents[_reordered(sizes, order)])


def _reordered(sizes: Array, order: Array) -> Array:
    """Return the indices that bring groups of these sizes into another order."""
    starts = np.cumsum(sizes) - sizes
    new_sizes = sizes[order]
    ends = np.cumsum(new_sizes)
    total = int(ends[-1]) if len(ends) else 0
    index: Array = np.arange(total) + np.repeat(starts[order] - (ends - new_sizes), new_sizes)
    return index


def by_pt(jets: Jets, candidates: Candidates) -> Jets:
    """Return the same jets with their constituents in the order of falling pt."""
    jet = np.repeat(np.arange(len(jets.counts)), jets.counts)
    order = np.lexsort((-candidates.pt[jets.constituents], jet))
    return jets._replace(constituents=jets.constituents[order])


def match(jets: FourVectors, gen_jets: FourVectors, *, rows: int, distance: float) -> Array:
    """Return for each jet the index of its generator jet within the event, -1 if it has none.

    A pair matches if each is the other's nearest and they are closer than `distance` in
    (eta, phi): no generator jet is given twice.

    Args:
        jets: Momenta of the jets, ordered by event.
        gen_jets: Momenta of the generator jets, ordered by event.
        rows: Number of events.
        distance: Largest Delta R of a match.

    Shapes:
        jets: (jets,), gen_jets: (gen_jets,) -> (jets,) int64
    """
    index = np.full(len(jets.row), -1)
    left, right = pairs(jets.row, gen_jets.row, rows=rows)
    separation = np.hypot(
        jets.eta[left] - gen_jets.eta[right], wrap(jets.phi[left] - gen_jets.phi[right])
    )
    mutual = _first(left, separation) & _first(right, separation) & (separation < distance)
    counts = np.bincount(gen_jets.row, minlength=rows)
    starts = np.cumsum(counts) - counts
    index[left[mutual]] = right[mutual] - starts[jets.row[left[mutual]]]
    return index


def _first(group: Array, value: Array) -> Array:
    """Return the mask of the smallest value of each group."""
    order = np.lexsort((value, group))
    smallest = np.zeros(len(group), bool)
    smallest[order] = np.diff(group[order], prepend=-1) != 0
    return smallest


def density(candidates: Candidates, *, rows: int) -> Array:
    """Return rho: the median over a grid in |eta| < 2.5 of the pt per unit of area [GeV].

    Reference: arXiv:0707.1378, on a fixed grid instead of jets.

    Shapes:
        candidates: (candidates,) -> (rows,)
    """
    n_eta, n_phi = _DENSITY_CELLS
    inside = candidates.select(np.abs(candidates.eta) < _DENSITY_ETA)
    column = ((inside.eta + _DENSITY_ETA) * (n_eta / (2 * _DENSITY_ETA))).astype(np.int64)
    sector = ((inside.phi + np.pi) * (n_phi / (2 * np.pi))).astype(np.int64) % n_phi
    cell = (inside.row * n_eta + np.minimum(column, n_eta - 1)) * n_phi + sector
    total = np.bincount(cell, weights=inside.pt, minlength=rows * n_eta * n_phi)
    area = 4 * np.pi * _DENSITY_ETA / (n_eta * n_phi)
    rho: Array = np.median(total.reshape(rows, n_eta * n_phi), axis=1) / area
    return rho


def areas(jets: FourVectors, neighbours: FourVectors, *, rows: int, radius: float) -> Array:
    r"""Return the area of anti-kt jets: the part of the disc that no other jet takes.

    A soft particle at distances r_i, r_j from jets i, j joins the one with the smaller
    :math:`r/p_T` among those closer than R: :math:`d_{ij} = \min(p_T^{-2}) r^2/R^2`.

    Reference: arXiv:0802.1189, arXiv:0802.1188 (passive area).

    Args:
        jets: The jets, ordered by event.
        neighbours: All jets of the events, ordered by event; may contain `jets` themselves.
        rows: Number of events.
        radius: R.

    Shapes:
        jets: (jets,), neighbours: (neighbours,) -> (jets,)
    """
    step = np.arange(_AREA_POINTS) + 0.5
    distance = radius * np.sqrt(step / _AREA_POINTS)  # equal areas, golden angle apart
    angle = step * np.pi * (3.0 - np.sqrt(5.0))
    left, right = pairs(jets.row, neighbours.row, rows=rows)
    delta_eta = jets.eta[left] - neighbours.eta[right]
    delta_phi = wrap(jets.phi[left] - neighbours.phi[right])
    near = np.hypot(delta_eta, delta_phi)
    close = (near > 1e-9) & (near < 2 * radius)
    left, right = left[close], right[close]
    x = delta_eta[close][:, None] + distance * np.cos(angle)
    y = delta_phi[close][:, None] + distance * np.sin(angle)
    other = np.hypot(x, y)
    ratio = (jets.pt[left] / neighbours.pt[right])[:, None]
    taken = np.zeros((len(jets.row), _AREA_POINTS), bool)
    np.logical_or.at(taken, left, (other < radius) & (other * ratio < distance))
    free: Array = 1.0 - taken.mean(axis=1)
    return np.pi * radius**2 * free
