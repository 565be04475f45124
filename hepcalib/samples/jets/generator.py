"""Hard scatters from Pythia 8, a block of events at a time."""

from __future__ import annotations

import functools
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import awkward as ak
import numpy as np

from hepcalib.exceptions import DataError, HepcalibError
from hepcalib.samples.jets import extras
from hepcalib.samples.jets.particles import (
    Array,
    FourVectors,
    Particles,
    charges,
    kinds,
    seen,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "PROCESSES",
    "HardEvents",
    "Partons",
    "Process",
    "StableParticles",
    "generate",
    "next_events",
    "pythia",
    "stable_particles",
]

_GEN_ETA_MAX = 4.0  # particles beyond cannot be in a generator jet that matches a kept jet

_COMMON = (
    "Print:quiet = on",
    "Beams:eCM = 13600.",
    "Random:setSeed = on",
    "Random:seed = 20240501",  # of the initialisation; each block sets its own afterwards
    "ParticleDecays:limitTau0 = on",
    "ParticleDecays:tau0Max = 10.",  # mm/c: K_S and Lambda reach the calorimeter
    "Check:event = off",
)


class Process(NamedTuple):
    """A process: its run number, its hadronic W bosons per event, its Pythia settings."""

    run: int
    bosons: int
    settings: tuple[str, ...]


def _biased(low: float, high: float, power: float) -> tuple[str, ...]:
    """Return settings that sample pTHat [GeV] with pTHat^power and compensate it by the weight."""
    return (
        f"PhaseSpace:pTHatMin = {low}",
        f"PhaseSpace:pTHatMax = {high}",
        "PhaseSpace:bias2Selection = on",
        f"PhaseSpace:bias2SelectionPow = {power}",
        "PhaseSpace:bias2SelectionRef = 300.",
    )


_HADRONIC_W = ("24:onMode = off", "24:onIfAny = 1 2 3 4 5")

PROCESSES: Mapping[str, Process] = MappingProxyType(
    {
        "qcd": Process(1, 0, ("HardQCD:all = on", *_biased(150.0, 900.0, 5.5))),
        # A W' that is wide on purpose: the W's pt is about flat in 200-700 GeV.
        "wprime": Process(
            2,
            1,
            (
                "NewGaugeBoson:ffbar2Wprime = on",
                "Wprime:coup2WZ = 1.",
                "34:onMode = off",
                "34:onIfAll = 24 23",
                "34:m0 = 1400.",
                "34:mWidth = 800.",
                "34:doForceWidth = on",
                "34:mMin = 400.",
                "34:mMax = 1600.",
                *_HADRONIC_W,
                "23:onMode = off",
                "23:onIfAny = 12 14 16",
            ),
        ),
        "top": Process(
            3,
            2,
            (
                "Top:gg2ttbar = on",
                "Top:qqbar2ttbar = on",
                *_HADRONIC_W,
                *_biased(200.0, 900.0, 5.0),
            ),
        ),
    }
)


class StableParticles(NamedTuple):
    """Visible stable particles: their momenta and PDG numbers, ordered by event."""

    momenta: FourVectors
    pdg_id: Array

    def detectable(self) -> Particles:
        """Return those that reach the detector."""
        momenta, pdg_id = self
        charge = charges(pdg_id)
        particles = Particles(
            momenta.row, momenta.pt, momenta.eta, momenta.phi, kinds(pdg_id), charge
        )
        return particles.select(seen(particles.pt, particles.eta, charge))


class Partons(NamedTuple):
    """Quarks and gluons: their momenta and PDG numbers."""

    momenta: FourVectors
    pdg_id: Array


class HardEvents(NamedTuple):
    """Hard scatters: weight (rows,), stable particles, quarks (rows, bosons, 3, 2), partons.

    The quarks are eta and phi of the two quarks of each hadronic W and of the quark that came with
    it from a top (NaN if the W came from no top). The partons are the outgoing quarks (without top)
    and gluons of the hard process and of the decays of its heavy particles, ordered by event.
    """

    weight: Array
    stable: StableParticles
    quarks: Array
    partons: Partons


class _Record(NamedTuple):
    """Pythia's event records as flat columns; `parent` is the PDG number of the first mother."""

    row: Array
    pdg_id: Array
    status: Array
    parent: Array
    momenta: FourVectors


@functools.cache
def pythia(settings: tuple[str, ...]) -> Any:
    """Return the Pythia of these settings, initialised once per process (about 0.4 s).

    Raises:
        HepcalibError: if Pythia refuses a setting or cannot start.
    """
    instance = extras.pythia().Pythia("", False)
    for setting in (*_COMMON, *settings):
        if not instance.readString(setting):
            msg = f"samples.jets: Pythia does not know the setting '{setting}'."
            raise HepcalibError(msg)
    if not instance.init():
        msg = f"samples.jets: Pythia could not be initialised with {settings}."
        raise HepcalibError(msg)
    return instance


def generate(process: Process, rows: int, *, seed: int) -> HardEvents:
    """Return the first `rows` events that follow Pythia's seed; nothing else decides them.

    Args:
        process: One of PROCESSES.
        rows: Number of events, at least 1.
        seed: Pythia's seed, 1 to 900000000.
    """
    instance = pythia(process.settings)
    instance.rndm.init(seed)
    batch = next_events(instance, rows)
    record = _record(batch.prt)
    return HardEvents(
        weight=np.asarray(batch.info.weights[:, 0], np.float64),
        stable=_stable(record),
        quarks=_quarks(record, rows, process.bosons),
        partons=_partons(record),
    )


def next_events(instance: Any, rows: int) -> Any:
    """Return exactly `rows` events: Pythia leaves out of a batch the events that it gives up.

    Raises:
        HepcalibError: if Pythia gives up every event of a batch.
    """
    batches: list[Any] = []
    missing = rows
    while missing > 0:
        batch = instance.nextBatch(missing)
        if len(batch) == 0:
            msg = f"samples.jets: Pythia gave up {missing} of {missing} events."
            raise HepcalibError(msg)
        batches.append(batch)
        missing -= len(batch)
    return batches[0] if len(batches) == 1 else ak.concatenate(batches)


def stable_particles(batch: Any) -> StableParticles:
    """Return the visible stable particles of a batch of Pythia events."""
    return _stable(_record(batch.prt))


def _record(events: Any) -> _Record:
    counts = np.asarray(ak.num(events))
    flat = ak.flatten(events)
    row = np.repeat(np.arange(len(counts)), counts)
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    pdg_id = np.asarray(flat.id)
    px, py, pz, energy = (np.asarray(flat.p[name]) for name in ("px", "py", "pz", "e"))
    return _Record(
        row=row,
        pdg_id=pdg_id,
        status=np.asarray(flat.status),
        parent=pdg_id[starts + np.asarray(flat.mother1)],
        momenta=FourVectors(row, px, py, pz, energy),
    )


def _stable(record: _Record) -> StableParticles:
    neutrino = np.isin(np.abs(record.pdg_id), (12, 14, 16))
    chosen = np.flatnonzero((record.status > 0) & ~neutrino)
    momenta = record.momenta.select(chosen)
    central = np.abs(momenta.pz) < np.sinh(_GEN_ETA_MAX) * momenta.pt
    return StableParticles(momenta.select(central), record.pdg_id[chosen][central])


def _partons(record: _Record) -> Partons:
    kind = np.abs(record.pdg_id)
    chosen = np.flatnonzero((np.abs(record.status) == 23) & ((kind <= 5) | (kind == 21)))
    return Partons(record.momenta.select(chosen), record.pdg_id[chosen])


def _quarks(record: _Record, rows: int, bosons: int) -> Array:
    directions = np.full((rows, bosons, 3, 2), np.nan)
    from_hard_process = (np.abs(record.status) == 23) & (np.abs(record.pdg_id) <= 5)
    for parent, first, count in ((24, 0, 2), (6, 2, 1)):
        chosen = np.flatnonzero(from_hard_process & (np.abs(record.parent) == parent))
        if len(chosen) == 0 and parent == 6:
            continue
        if len(chosen) != rows * bosons * count:
            msg = (
                f"samples.jets: {len(chosen)} quarks from particles {parent} in {rows} events; "
                f"{rows * bosons * count} expected."
            )
            raise DataError(msg)
        # W+ goes with t, W- with anti-t: order both by the charge of the parent.
        chosen = chosen[np.lexsort((record.parent[chosen], record.row[chosen]))]
        momenta = record.momenta.select(chosen)
        shape = (rows, bosons, count)
        directions[:, :, first : first + count, 0] = momenta.eta.reshape(shape)
        directions[:, :, first : first + count, 1] = momenta.phi.reshape(shape)
    return directions
