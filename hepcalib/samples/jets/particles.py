"""Particles and reconstructed candidates as flat columns, ordered by event."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = [
    "CHARGED_HADRON",
    "ELECTRON",
    "ETA_MAX",
    "MUON",
    "NEUTRAL_HADRON",
    "PHOTON",
    "Array",
    "Candidates",
    "FourVectors",
    "Particles",
    "charges",
    "kinds",
    "pairs",
    "seen",
    "wrap",
]

Array: TypeAlias = npt.NDArray[Any]

CHARGED_HADRON, PHOTON, NEUTRAL_HADRON, ELECTRON, MUON = range(5)

ETA_MAX = 3.0  # coverage of the calorimeters
_LOOPER_PT = 0.3  # GeV; a charged particle below curls up in the field and is never seen
_NEUTRAL_PT = 0.1  # GeV
_NEUTRAL_HADRONS = (130, 310, 311, 2112, 3122, 3322)
_NEGATIVE_BARYONS = (3112, 3312, 3334)  # negative although their PDG number is positive


class Particles(NamedTuple):
    """Stable particles: event row, pt [GeV], eta, phi [rad], kind (see `kinds`), charge [e]."""

    row: Array
    pt: Array
    eta: Array
    phi: Array
    kind: Array
    charge: Array

    def select(self, mask: Array) -> Particles:
        """Return the particles of a mask or of indices."""
        return Particles(*(column[mask] for column in self))


class Candidates(NamedTuple):
    """Particle-flow candidates: event row, pt [GeV], eta, phi [rad], mass [GeV], PDG number."""

    row: Array
    pt: Array
    eta: Array
    phi: Array
    mass: Array
    pdg_id: Array

    def select(self, mask: Array) -> Candidates:
        """Return the candidates of a mask or of indices."""
        return Candidates(*(column[mask] for column in self))

    def stored(self) -> Candidates:
        """Return the candidates in the types they are written with."""
        measured = (x.astype(np.float32) for x in (self.pt, self.eta, self.phi, self.mass))
        pt, eta, phi, mass = measured
        return Candidates(self.row, pt, eta, phi, mass, self.pdg_id.astype(np.int32))

    def four_vectors(self) -> FourVectors:
        """Return the candidates' momenta in Cartesian components."""
        pt, eta, phi, mass = (
            x.astype(np.float64) for x in (self.pt, self.eta, self.phi, self.mass)
        )
        energy = np.sqrt((pt * np.cosh(eta)) ** 2 + mass**2)
        return FourVectors(self.row, pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta), energy)


class FourVectors(NamedTuple):
    """Momenta: event row, px, py, pz, energy [GeV]."""

    row: Array
    px: Array
    py: Array
    pz: Array
    energy: Array

    @property
    def pt(self) -> Array:
        """Transverse momentum [GeV]."""
        return np.hypot(self.px, self.py)

    @property
    def eta(self) -> Array:
        """Pseudorapidity."""
        return np.arcsinh(self.pz / np.maximum(self.pt, 1e-12))

    @property
    def phi(self) -> Array:
        """Azimuth [rad] in [-pi, pi]."""
        phi: Array = np.arctan2(self.py, self.px)
        return phi

    @property
    def mass(self) -> Array:
        """Invariant mass [GeV], 0 where rounding makes its square negative."""
        squared = self.energy**2 - self.px**2 - self.py**2 - self.pz**2
        mass: Array = np.sqrt(np.maximum(squared, 0.0))
        return mass

    def select(self, mask: Array) -> FourVectors:
        """Return the momenta of a mask or of indices."""
        return FourVectors(*(column[mask] for column in self))


def kinds(pdg_id: Array) -> Array:
    """Return what the detector takes a stable visible particle for, from its PDG number.

    Shapes:
        pdg_id: (particles,) -> (particles,) int8
    """
    number = np.abs(pdg_id)
    kind = np.full(number.shape, CHARGED_HADRON, np.int8)
    kind[np.isin(number, _NEUTRAL_HADRONS)] = NEUTRAL_HADRON
    kind[number == 22] = PHOTON
    kind[number == 11] = ELECTRON
    kind[number == 13] = MUON
    return kind


def charges(pdg_id: Array) -> Array:
    """Return the sign of the charge of stable particles, from their PDG numbers.

    Shapes:
        pdg_id: (particles,) -> (particles,) int8
    """
    number = np.abs(pdg_id)
    kind = kinds(pdg_id)
    reversed_sign = np.isin(number, _NEGATIVE_BARYONS) | np.isin(kind, (ELECTRON, MUON))
    sign = np.where(reversed_sign, -np.sign(pdg_id), np.sign(pdg_id))
    return np.where(np.isin(kind, (PHOTON, NEUTRAL_HADRON)), 0, sign).astype(np.int8)


def seen(pt: Array, eta: Array, charge: Array) -> Array:
    """Return which particles reach the detector: |eta| < 3, pt above the field's threshold."""
    return (np.abs(eta) < ETA_MAX) & (pt > np.where(charge == 0, _NEUTRAL_PT, _LOOPER_PT))


def wrap(phi: Array) -> Array:
    """Return an azimuth or a difference of azimuths [rad] in [-pi, pi)."""
    return (phi + np.pi) % (2 * np.pi) - np.pi


def pairs(first: Array, second: Array, *, rows: int) -> tuple[Array, Array]:
    """Return the indices of all pairs of objects of the same event.

    Args:
        first: Event rows of a collection, ascending.
        second: Event rows of another collection, ascending.
        rows: Number of events.

    Shapes:
        first: (a,), second: (b,) -> (pairs,), (pairs,)
    """
    counts = np.bincount(second, minlength=rows)
    starts = np.cumsum(counts) - counts
    repeats = counts[first]
    left = np.repeat(np.arange(len(first)), repeats)
    ends = np.cumsum(repeats)
    within = np.arange(len(left)) - np.repeat(ends - repeats, repeats)
    return left, np.repeat(starts[first], repeats) + within
