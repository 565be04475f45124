"""A parametrised detector: tracks, two calorimeters, and candidates as particle flow makes them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from hepcalib.samples.jets.particles import (
    CHARGED_HADRON,
    ELECTRON,
    ETA_MAX,
    MUON,
    NEUTRAL_HADRON,
    PHOTON,
    Array,
    Candidates,
    Particles,
    wrap,
)

if TYPE_CHECKING:
    from hepcalib.samples.jets.draws import Draws

__all__ = ["Calorimeter", "Detector", "reconstruct"]

_GAP_ETA, _GAP_WIDTH = 1.5, 0.2
_PION_MASS, _ELECTRON_MASS, _MUON_MASS = 0.13957, 0.000511, 0.10566  # GeV


@dataclass(frozen=True)
class Calorimeter:
    r"""Resolution, granularity and threshold of a calorimeter.

    .. math:: \sigma(E)^2 = a^2 E + b^2 + c^2 E^2

    Args:
        stochastic: a [sqrt(GeV)].
        noise: b of a cell [GeV].
        constant: c.
        threshold: Smallest transverse energy of a cell that is kept [GeV].
        divisions: Number of cells around the azimuth; a cell is square in eta and phi.
    """

    stochastic: float
    noise: float
    constant: float
    threshold: float
    divisions: int

    def resolution(self, energy: Array) -> Array:
        """Return sigma(E) [GeV] of an energy [GeV]."""
        return np.sqrt(self.stochastic**2 * energy + self.noise**2 + (self.constant * energy) ** 2)


def _ecal() -> Calorimeter:
    return Calorimeter(stochastic=0.05, noise=0.12, constant=0.007, threshold=0.3, divisions=360)


def _hcal() -> Calorimeter:
    return Calorimeter(stochastic=1.0, noise=0.3, constant=0.05, threshold=0.8, divisions=72)


@dataclass(frozen=True)
class Detector:
    r"""The parameters of the detector; the defaults resemble a general-purpose one at the LHC.

    .. math:: \varepsilon &= \varepsilon_0 (1 - s (\eta/2.5)^2) / (1 + p_T/p_d) \\
        \sigma(p_T)/p_T &= \sqrt{a^2 + (b p_T)^2}\,(1 + (\eta/2.5)^2) \\
        R_h(E) &= 1 - (1 - h/e) \max(E/\mathrm{GeV}, 1)^{k - 1} \\
        T(\eta) &= 1 - g \exp[-((|\eta| - 1.5)/0.2)^2/2]

    The hadronic response follows Groom and Wigmans (NIM A 338, 336).

    Args:
        track_eta: Largest |eta| of a track.
        efficiency: Track efficiency eps_0 at eta = 0 and small pt.
        efficiency_slope: Its loss s at |eta| = 2.5.
        efficiency_density: pt scale p_d [GeV] of its loss in the core of jets.
        track_constant: Multiple scattering a.
        track_curvature: Curvature resolution b [1/GeV].
        leak: A pile-up track is taken for the hard scatter's with probability 1 - exp(-leak mu).
        h_over_e: Ratio h/e of the hadronic calorimeter.
        em_power: Exponent k of the electromagnetic fraction of hadronic showers.
        gap_loss: Part g of the energy that the material between barrel and endcaps takes from a
            shower at |eta| = 1.5.
        ecal: Calorimeter of photons and of electrons without a track.
        hcal: Calorimeter of neutral hadrons and of charged hadrons without a track.
    """

    track_eta: float = 2.5
    efficiency: float = 0.95
    efficiency_slope: float = 0.08
    efficiency_density: float = 1000.0
    track_constant: float = 0.01
    track_curvature: float = 1.5e-4
    leak: float = 0.0015
    h_over_e: float = 0.6
    em_power: float = 0.82
    gap_loss: float = 0.2
    ecal: Calorimeter = field(default_factory=_ecal)
    hcal: Calorimeter = field(default_factory=_hcal)

    def track_efficiency(self, pt: Array, eta: Array) -> Array:
        """Return the probability that a charged particle of pt [GeV] and eta leaves a track."""
        slope = 1.0 - self.efficiency_slope * (eta / self.track_eta) ** 2
        return self.efficiency * slope / (1.0 + pt / self.efficiency_density)

    def track_resolution(self, pt: Array, eta: Array) -> Array:
        """Return the relative resolution of the pt [GeV] of a track."""
        barrel = np.sqrt(self.track_constant**2 + (self.track_curvature * pt) ** 2)
        return barrel * (1.0 + (eta / self.track_eta) ** 2)

    def hadron_response(self, energy: Array) -> Array:
        """Return the mean response of the hadronic calorimeter to a hadron of an energy [GeV]."""
        power = self.em_power - 1.0
        return 1.0 - (1.0 - self.h_over_e) * np.maximum(energy, 1.0) ** power

    def transmission(self, eta: Array) -> Array:
        """Return the part of a shower's energy that reaches the calorimeters at eta."""
        distance = (np.abs(eta) - _GAP_ETA) / _GAP_WIDTH
        return 1.0 - self.gap_loss * np.exp(-(distance**2) / 2)


def reconstruct(
    hard: Particles, pile_up: Particles, *, mu: Array, detector: Detector, draws: Draws
) -> Candidates:
    """Return the particle-flow candidates of the events, ordered by event.

    Charged particles become tracks; the tracks of pile-up are removed but for a leak. Photons, and
    electrons without a track, fill the cells of the electromagnetic calorimeter; neutral hadrons,
    and charged ones without a track, those of the hadronic one. Hard scatter and pile-up share the
    cells. The energy of a particle with a track is taken out of its cells exactly.

    Args:
        hard: Particles of the hard scatter.
        pile_up: Particles of the pile-up.
        mu: Mean number of interactions of each event.
        detector: The parameters.
        draws: The random streams of the block.

    Shapes:
        hard: (h,), pile_up: (p,), mu: (rows,) -> (candidates,) float32 columns
    """
    leak = 1.0 - np.exp(-detector.leak * mu)
    tracks, rest = _tracks(
        hard, detector, kept=np.ones_like(mu), draws=draws, origin="hard scatter"
    )
    leaked, more = _tracks(pile_up, detector, kept=leak, draws=draws, origin="pile-up")
    rest = Particles(*map(np.concatenate, zip(rest, more, strict=True)))
    parts = (tracks, leaked, _photons(rest, detector, draws), _hadrons(rest, detector, draws))
    joined = Candidates(*map(np.concatenate, zip(*parts, strict=True)))
    return joined.select(np.argsort(joined.row, kind="stable")).stored()


def _tracks(
    particles: Particles, detector: Detector, *, kept: Array, draws: Draws, origin: str
) -> tuple[Candidates, Particles]:
    """Return the tracks that are kept and the particles without a track.

    Args:
        particles: Particles of one origin.
        detector: The parameters.
        kept: Probability, for each event, that a track is taken for the hard scatter's.
        draws: The random streams of the block.
        origin: "hard scatter" or "pile-up".
    """
    tracked = (particles.charge != 0) & (np.abs(particles.eta) < detector.track_eta)
    charged = particles.select(tracked)
    efficiency = detector.track_efficiency(charged.pt, charged.eta)
    draw = draws(f"track of the {origin}").random(len(charged.pt))
    lost = np.ones(len(particles.pt), bool)
    lost[tracked] = draw >= efficiency
    chosen = charged.select(draw < efficiency * kept[charged.row])
    normal = draws(f"momentum of the {origin}").standard_normal(len(chosen.pt))
    smear = 1.0 + detector.track_resolution(chosen.pt, chosen.eta) * normal
    pdg_id, mass = _identity(chosen.kind, chosen.charge)
    pt = chosen.pt * np.maximum(smear, 0.1)
    return Candidates(chosen.row, pt, chosen.eta, chosen.phi, mass, pdg_id), particles.select(lost)


def _identity(kind: Array, charge: Array) -> tuple[Array, Array]:
    """Return PDG number and mass of tracks; hadrons are taken for pions."""
    pdg_id = 211 * charge.astype(np.int32)
    mass = np.full(kind.shape, _PION_MASS)
    for lepton, number, lepton_mass in ((ELECTRON, 11, _ELECTRON_MASS), (MUON, 13, _MUON_MASS)):
        chosen = kind == lepton
        pdg_id[chosen] = -number * charge[chosen].astype(np.int32)
        mass[chosen] = lepton_mass
    return pdg_id, mass


def _photons(rest: Particles, detector: Detector, draws: Draws) -> Candidates:
    showers = rest.select((rest.kind == PHOTON) | (rest.kind == ELECTRON))
    energy = showers.pt * np.cosh(showers.eta) * detector.transmission(showers.eta)
    return _cells(showers, energy, calorimeter=detector.ecal, draws=draws, name="ecal", pdg_id=22)


def _hadrons(rest: Particles, detector: Detector, draws: Draws) -> Candidates:
    showers = rest.select((rest.kind == NEUTRAL_HADRON) | (rest.kind == CHARGED_HADRON))
    energy = showers.pt * np.cosh(showers.eta)
    energy = energy * detector.hadron_response(energy) * detector.transmission(showers.eta)
    return _cells(showers, energy, calorimeter=detector.hcal, draws=draws, name="hcal", pdg_id=130)


def _cells(
    showers: Particles,
    energy: Array,
    *,
    calorimeter: Calorimeter,
    draws: Draws,
    name: str,
    pdg_id: int,
) -> Candidates:
    """Return the cells above threshold: energies summed, then smeared; position within the cell."""
    divisions = calorimeter.divisions
    size = 2 * np.pi / divisions
    columns = int(np.ceil(2 * ETA_MAX / size))
    column = ((showers.eta + ETA_MAX) / size).astype(np.int64)
    sector = ((showers.phi + np.pi) / size).astype(np.int64) % divisions
    key = (showers.row * columns + column) * divisions + sector
    cell, index = np.unique(key, return_inverse=True)
    total = np.bincount(index, weights=energy, minlength=len(cell))
    normal = draws(f"{name} energy").standard_normal(len(cell))
    measured = total + calorimeter.resolution(total) * normal
    tower, sector = np.divmod(cell, divisions)
    row, column = np.divmod(tower, columns)
    widening = np.cosh((column + 0.5) * size - ETA_MAX)  # energy over transverse energy
    above = measured > calorimeter.threshold * widening
    within = draws(f"{name} position").random((int(above.sum()), 2))
    return Candidates(
        row=row[above],
        pt=measured[above] / widening[above],
        eta=(column[above] + within[:, 0]) * size - ETA_MAX,
        phi=wrap((sector[above] + within[:, 1]) * size - np.pi),
        mass=np.zeros(len(within)),
        pdg_id=np.full(len(within), pdg_id),
    )
