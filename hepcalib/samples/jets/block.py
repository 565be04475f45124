"""One block of simulated events: generator, pile-up, detector, jets, flat columns."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hepcalib.samples.jets.branches import BRANCHES, counter
from hepcalib.samples.jets.clustering import Jets, areas, by_pt, cluster, density, match
from hepcalib.samples.jets.detector import Detector, reconstruct
from hepcalib.samples.jets.draws import BLOCK, Draws
from hepcalib.samples.jets.generator import PROCESSES, HardEvents, generate
from hepcalib.samples.jets.grooming import soft_drop_mass, trimmed_mass
from hepcalib.samples.jets.pileup import (
    MinimumBias,
    interactions,
    overlay,
    reconstructed_vertices,
)
from hepcalib.samples.jets.truth import flavours, labels

if TYPE_CHECKING:
    from hepcalib.samples.jets.particles import Array, Candidates, FourVectors

__all__ = ["Settings", "simulate_block"]

_JET_ETA = 2.5
_GEN_JET_ETA = 3.0
_GEN_JET_PT = 0.5  # of the smallest pt of the jets
_NEIGHBOUR_PT = 20.0  # GeV; softer jets take no noticeable area from a jet above 100 GeV
_MATCH_DISTANCE = 0.4
_EVENTS_PER_LUMINOSITY_BLOCK = 1000


class Settings(NamedTuple):
    """What a sample is made with; see `simulate`."""

    process: str
    seed: int
    mu: tuple[float, float]
    radius: float
    min_pt: float
    detector: Detector


def simulate_block(
    block: int, rows: int, *, settings: Settings, pool: MinimumBias
) -> dict[str, Array]:
    """Return the first `rows` events of a block as flat columns and counters of the collections.

    Args:
        block: Number of the block; it, the process and the seed decide everything random.
        rows: Number of events, 1 to BLOCK.
        settings: What the sample is made with.
        pool: The pool of minimum-bias events.
    """
    process = PROCESSES[settings.process]
    draws = Draws(settings.seed, process.run, block)
    hard = generate(process, rows, seed=draws.pythia_seed())
    mean, width = settings.mu
    mu, extra = interactions(rows, mean=mean, width=width, draws=draws)
    candidates = reconstruct(
        hard.stable.detectable(),
        overlay(pool, extra, draws=draws),
        mu=mu,
        detector=settings.detector,
        draws=draws,
    )
    event = block * BLOCK + np.arange(rows)
    columns = {
        "run": np.full(rows, process.run),
        "luminosityBlock": 1 + event // _EVENTS_PER_LUMINOSITY_BLOCK,
        "event": event,
        "genWeight": hard.weight,
        "mu": mu,
        "nPV": reconstructed_vertices(mu, extra, draws=draws),
        "rho": density(candidates, rows=rows),
    }
    columns |= _jet_columns(candidates, hard, rows, settings)
    return {name: column.astype(BRANCHES.get(name, np.int64)) for name, column in columns.items()}


def _jet_columns(
    candidates: Candidates, hard: HardEvents, rows: int, settings: Settings
) -> dict[str, Array]:
    radius = settings.radius
    momenta = candidates.four_vectors()
    found = cluster(momenta, rows=rows, radius=radius, min_pt=_NEIGHBOUR_PT)
    all_jets = found.momenta
    kept = (all_jets.pt > settings.min_pt) & (np.abs(all_jets.eta) < _JET_ETA)
    jets = by_pt(found.select(kept), candidates)
    constituents = momenta.select(jets.constituents)
    gen_jets = _gen_jets(hard, rows, settings)
    label = labels(jets.momenta, hard.quarks, radius=radius)
    columns = {
        **_kinematics("Jet", jets.momenta),
        "Jet_msoftdrop": soft_drop_mass(constituents, jets.counts, radius=radius),
        "Jet_mtrimmed": trimmed_mass(constituents, jets.counts),
        "Jet_genJetIdx": match(jets.momenta, gen_jets, rows=rows, distance=_MATCH_DISTANCE),
        "Jet_label": label,
        "Jet_flavour": flavours(jets.momenta, *hard.partons, label=label, radius=radius),
        "Jet_area": areas(jets.momenta, all_jets, rows=rows, radius=radius),
        **_kinematics("GenJet", gen_jets),
        **_candidate_columns(jets, candidates.select(jets.constituents)),
    }
    for collection, row in (
        ("Jet", jets.momenta.row),
        ("GenJet", gen_jets.row),
        ("PFCand", constituents.row),
        ("JetPFCand", constituents.row),
    ):
        columns[counter(collection)] = np.bincount(row, minlength=rows)
    return columns


def _gen_jets(hard: HardEvents, rows: int, settings: Settings) -> FourVectors:
    smallest = _GEN_JET_PT * settings.min_pt
    jets = cluster(hard.stable.momenta, rows=rows, radius=settings.radius, min_pt=smallest)
    return jets.momenta.select(np.abs(jets.momenta.eta) < _GEN_JET_ETA)


def _kinematics(collection: str, momenta: FourVectors) -> dict[str, Array]:
    return {f"{collection}_{name}": getattr(momenta, name) for name in ("pt", "eta", "phi", "mass")}


def _candidate_columns(jets: Jets, stored: Candidates) -> dict[str, Array]:
    """Return the candidates of the kept jets, jet after jet, and the links to them."""
    row = jets.momenta.row
    jet_in_event = np.arange(len(row)) - np.searchsorted(row, row)
    candidate_in_event = np.arange(len(stored.row)) - np.searchsorted(stored.row, stored.row)
    return {
        "PFCand_pt": stored.pt,
        "PFCand_eta": stored.eta,
        "PFCand_phi": stored.phi,
        "PFCand_mass": stored.mass,
        "PFCand_pdgId": stored.pdg_id,
        "JetPFCand_jetIdx": np.repeat(jet_in_event, jets.counts),
        "JetPFCand_pfCandIdx": candidate_in_event,
    }
