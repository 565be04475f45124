"""Simulated topo-clusters with a known response density, as the branches of a ClusterTree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hepcalib.exceptions import ConfigError
from hepcalib.samples import cluster_response, response_density
from hepcalib.samples.cluster_features import draw_crossings, draw_features
from hepcalib.samples.cluster_response import MIN_RESPONSE, MIN_TRUE_ENERGY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hepcalib.samples.response_density import ResponseDensity

__all__ = ["CLUSTERS_PER_EVENT", "passes_cuts", "simulate"]

Columns: TypeAlias = dict[str, NDArray[Any]]

CLUSTERS_PER_EVENT = 10
"""Mean number of clusters drawn for an event, before the cuts."""

_EVENTS = 1024  # that share a random stream; another number gives another sample
_CLEAN, _DIRT = 0, 1  # purposes of a block's random streams
_SPOILED = ("clusterE", "cluster_FIRST_ENG_DENS", "cluster_SECOND_TIME", "cluster_SIGNIFICANCE")
_POSITIVE = (*_SPOILED, "cluster_CENTER_LAMBDA")


def simulate(
    clusters: int,
    *,
    seed: int,
    run: int = 1,
    first_event: int = 0,
    apply_cuts: bool = True,
    dirty: bool = False,
) -> Columns:
    r"""Simulate topo-clusters whose response density p(R|x) is known exactly.

    Draws the 15 features x of arXiv:2412.04370, R from p(R|x) at the stored float32 features (see
    cluster_response.density), and E_dep = E / R. The clusters of an event share mu and N_PV. A
    cluster depends on seed, run and event number only: a longer sample begins with the shorter one.

    Args:
        clusters: Number of clusters returned; with apply_cuts, of those that pass.
        seed: Seed of the sample.
        run: Run number; to simulate in parallel, give each part a run of its own.
        first_event: Number of the first event.
        apply_cuts: Return only clusters that pass the cuts (74 %).
        dirty: Spoil some clusters: |ENG_FRAC_EM| near 1000 in 1e-4 of them; energy, energy
            density, time variance or significance zero or negative in 0.5 %. Those 0.5 % fail the
            cuts, keep their true energy, and have no oracle (NaN).

    Returns:
        Branches of ClusterTree (GeV, mm, ns), float32 but for the integers runNumber, eventNumber
        and clusterIndex (counted before the cuts). cluster_ORACLE_RESPONSE is the exact median of
        p(R|x), truncated by the cuts.

    Shapes:
        each branch: (clusters,)

    Raises:
        ConfigError: if clusters, seed, run or first_event is negative.
    """
    _check_not_negative(clusters=clusters, seed=seed, run=run, first_event=first_event)
    blocks: list[Columns] = []
    returned, block = 0, first_event // _EVENTS
    while not blocks or returned < clusters:
        columns = _block(block, seed=seed, run=run, dirty=dirty)
        keep = columns["eventNumber"] >= first_event
        if apply_cuts:
            keep &= passes_cuts(columns)
        blocks.append(_with_oracle({name: values[keep] for name, values in columns.items()}))
        returned, block = returned + int(keep.sum()), block + 1
    return {name: np.concatenate([b[name] for b in blocks])[:clusters] for name in blocks[0]}


def passes_cuts(columns: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
    """Tell which clusters pass the cuts of arXiv:2412.04370.

    E_dep > 0.3 GeV, R > 0.1 and positive clusterE, CENTER_LAMBDA, FIRST_ENG_DENS, SECOND_TIME and
    SIGNIFICANCE.

    Args:
        columns: Branches of ClusterTree.

    Shapes:
        columns: (clusters,) each -> (clusters,)
    """
    true_energy = np.asarray(columns["cluster_ENG_CALIB_TOT"], np.float64)
    keep = (true_energy > MIN_TRUE_ENERGY) & (columns["clusterE"] > MIN_RESPONSE * true_energy)
    for name in _POSITIVE:
        keep &= columns[name] > 0
    return np.asarray(keep, dtype=np.bool_)


def _block(block: int, *, seed: int, run: int, dirty: bool) -> Columns:
    """Draw the clusters of a block of events, before the cuts."""
    rng = _generator(seed, run, block, _CLEAN)
    counts = rng.poisson(CLUSTERS_PER_EVENT, _EVENTS)
    mu, n_pv = (np.repeat(values, counts) for values in draw_crossings(rng, _EVENTS))
    x = draw_features(rng, mu, n_pv)
    dirt = _generator(seed, run, block, _DIRT)
    if dirty:
        _inflate_fraction(dirt, x)
    em_probability, weight = cluster_response.local_weights(x)
    response = _draw_response(rng, cluster_response.density(x))
    true_energy = (x["clusterE"] / response).astype(np.float32)
    if dirty:
        _spoil(dirt, x)
    first = np.cumsum(counts) - counts
    return {
        "runNumber": np.full(len(mu), run, np.int32),
        "eventNumber": np.repeat(np.arange(_EVENTS, dtype=np.int64) + block * _EVENTS, counts),
        "clusterIndex": (np.arange(len(mu)) - np.repeat(first, counts)).astype(np.int32),
        **x,
        "cluster_ENG_CALIB_TOT": true_energy,
        "cluster_EM_PROBABILITY": em_probability.astype(np.float32),
        "cluster_HAD_WEIGHT": weight.astype(np.float32),
    }


def _draw_response(rng: np.random.Generator, mixture: ResponseDensity) -> NDArray[np.float64]:
    """Draw R, not truncated: the cuts do that."""
    contaminated = rng.random(len(mixture.p2)) < mixture.p2
    centre = np.where(contaminated, mixture.m2, mixture.m1)
    width = np.where(contaminated, mixture.s2, mixture.s1)
    return np.exp(centre + width * rng.standard_normal(len(centre)))


def _inflate_fraction(rng: np.random.Generator, x: Columns) -> None:
    """Give 1e-4 of the clusters an EM fraction near +-1000, as a raw energy near zero does."""
    rows = np.flatnonzero(rng.random(len(x["clusterE"])) < 1e-4)
    x["cluster_ENG_FRAC_EM"][rows] = rng.choice([-1e3, 1e3], len(rows)) * rng.lognormal(
        0.0, 0.5, len(rows)
    )


def _spoil(rng: np.random.Generator, x: Columns) -> None:
    """Make a feature that must be positive zero or negative in 0.5 % of the clusters."""
    rows = np.flatnonzero(rng.random(len(x["clusterE"])) < 5e-3)
    which = rng.integers(len(_SPOILED), size=len(rows))
    factor = rng.choice([0.0, -1.0], len(rows))
    for number, name in enumerate(_SPOILED):
        mine = which == number
        x[name][rows[mine]] *= factor[mine]


def _with_oracle(columns: Columns) -> Columns:
    """Add the exact median response, NaN where a feature is spoiled."""
    valid = np.all([columns[name] > 0 for name in _POSITIVE], axis=0)
    mixture = cluster_response.density({name: values[valid] for name, values in columns.items()})
    oracle = np.full(len(valid), np.nan, np.float32)
    oracle[valid] = response_density.median(mixture)
    return {**columns, "cluster_ORACLE_RESPONSE": oracle}


def _generator(seed: int, run: int, block: int, purpose: int) -> np.random.Generator:
    """Return the random stream of a block of events for one purpose."""
    sequence = np.random.SeedSequence(seed, spawn_key=(run, block, purpose))
    return np.random.Generator(np.random.Philox(sequence))


def _check_not_negative(**numbers: int) -> None:
    """Refuse negative counts and keys."""
    for name, number in numbers.items():
        if number < 0:
            msg = f"topoclusters.simulate: {name} = {number}; it must be zero or more"
            raise ConfigError(msg)
