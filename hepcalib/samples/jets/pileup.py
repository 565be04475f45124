"""Pile-up: minimum-bias events from a pool, turned and mirrored, on top of the hard scatter."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.special import ndtr, ndtri

from hepcalib.samples.jets.generator import next_events, pythia, stable_particles
from hepcalib.samples.jets.particles import Array, Particles, wrap

if TYPE_CHECKING:
    from hepcalib.samples.jets.draws import Draws

__all__ = ["MinimumBias", "interactions", "minimum_bias", "overlay", "reconstructed_vertices"]

_SETTINGS = ("SoftQCD:nonDiffractive = on",)
_SEED = 640_000_000  # of the pool's first block: the pool is the same for every sample
_BLOCK = 100


class MinimumBias(NamedTuple):
    """A pool of minimum-bias events: event i holds particles offsets[i] to offsets[i + 1]."""

    offsets: Array
    particles: Particles


@functools.cache
def minimum_bias(events: int) -> MinimumBias:
    """Return the pool of minimum-bias events, the same in every process and for every sample.

    About 2.5 s per 1000 events, once per process. A larger pool begins with the smaller one.

    Args:
        events: Size of the pool, at least 1.
    """
    instance = pythia(_SETTINGS)
    parts = []
    for block in range(-(-events // _BLOCK)):
        instance.rndm.init(_SEED + block)
        start = block * _BLOCK
        batch = next_events(instance, min(_BLOCK, events - start))
        part = stable_particles(batch).detectable()
        parts.append(part._replace(row=part.row + start))
    joined = Particles(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))
    offsets = np.zeros(events + 1, np.int64)
    offsets[1:] = np.cumsum(np.bincount(joined.row, minlength=events))
    compact = joined._replace(
        pt=joined.pt.astype(np.float32),
        eta=joined.eta.astype(np.float32),
        phi=joined.phi.astype(np.float32),
    )
    return MinimumBias(offsets, compact)


def interactions(rows: int, *, mean: float, width: float, draws: Draws) -> tuple[Array, Array]:
    """Return mu, normal and cut off below 0, and the number of pile-up interactions, Poisson(mu).

    Shapes:
        -> (rows,), (rows,)
    """
    uniform = draws("mu").random(rows)
    mu = np.full(rows, mean)
    if width > 0:
        below = ndtr(-mean / width)
        mu = np.maximum(mean + width * ndtri(below + (1.0 - below) * uniform), 0.0)
    return mu, draws("vertices").poisson(mu)


def reconstructed_vertices(mu: Array, interactions: Array, *, draws: Draws) -> Array:
    """Return N_PV: the hard scatter's vertex and those of the pile-up that are found.

    A vertex is found with probability 0.62 - 0.0012 mu: close vertices merge.
    """
    efficiency = np.clip(0.62 - 0.0012 * mu, 0.05, 1.0)
    return 1 + draws("reconstructed vertices").binomial(interactions, efficiency)


def overlay(pool: MinimumBias, interactions: Array, *, draws: Draws) -> Particles:
    """Return the pile-up particles: pool events drawn with replacement.

    Each is turned by a random azimuth and mirrored in eta at random, so that a pool event that
    comes twice does not look the same.

    Args:
        pool: The pool of minimum-bias events.
        interactions: Number of pile-up interactions of each event.
        draws: The random streams of the block.

    Shapes:
        interactions: (rows,) -> (particles,), ordered by event
    """
    total = int(interactions.sum())
    chosen = draws("pool events").integers(len(pool.offsets) - 1, size=total)
    rotation = draws("pool rotation").uniform(-np.pi, np.pi, size=total)
    counts = np.diff(pool.offsets)[chosen]
    ends = np.cumsum(counts)
    vertex = np.repeat(np.arange(total), counts)
    index = np.arange(len(vertex)) + (pool.offsets[chosen] - (ends - counts))[vertex]
    particles = pool.particles.select(index)
    mirror = np.where(rotation < 0.0, -1.0, 1.0)
    row = np.repeat(np.arange(len(interactions)), interactions)
    return particles._replace(
        row=row[vertex],
        eta=particles.eta * mirror[vertex],
        phi=wrap(particles.phi + 2.0 * rotation[vertex]),
    )
