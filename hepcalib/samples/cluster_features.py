"""The laws that the features of simulated topo-clusters are drawn from."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, ndtr, ndtri

from hepcalib.samples.cluster_response import slice_weight, typical_log_significance

__all__ = ["draw_crossings", "draw_features"]

Array: TypeAlias = NDArray[np.float64]
Flags: TypeAlias = NDArray[np.bool_]

_BEND = 0.9  # by how much the energy spectrum steepens
_KNEE = 8.0  # energy at which it does [GeV]
_MIN_ENERGY, _MAX_ENERGY = 0.2, 1600.0  # [GeV]
_MAX_DEPTH = 3000.0  # of the centre of a cluster, where the calorimeter ends [mm]
_BARREL = 1.475  # rapidity where the end-cap begins


class _Origin(NamedTuple):
    """What is hidden behind the features, with the energy they scale with."""

    energy: Array  # excess D = log10(E / GeV) - 0.63
    hadronic: Array  # h
    contaminated: Array  # u, by pile-up
    deep: Array  # d, starts late in the calorimeter
    late: Array  # o, of another bunch crossing


def draw_crossings(rng: np.random.Generator, events: int) -> tuple[Array, Array]:
    """Draw the pile-up of each event: mean interactions per crossing and primary vertices.

    mu ~ 0.85 TN(34.5, 12; 0, 80) + 0.15 U(0, 80); N_PV ~ 1 + Poisson(0.62 mu - 0.0012 mu^2).

    Args:
        rng: Source of the draws.
        events: Number of events.

    Shapes:
        -> (events,), (events,)
    """
    normal = _truncated_normal(rng, np.full(events, 34.5), 12.0, low=0.0, high=80.0)
    mu = np.where(rng.random(events) < 0.85, normal, rng.uniform(0.0, 80.0, events))
    return mu, 1.0 + rng.poisson(0.62 * mu - 0.0012 * mu**2).astype(np.float64)


def draw_features(rng: np.random.Generator, mu: Array, n_pv: Array) -> dict[str, NDArray[Any]]:
    """Draw the 15 features of arXiv:2412.04370 for clusters in given pile-up.

    Args:
        rng: Source of the draws.
        mu: Mean interactions per crossing.
        n_pv: Number of primary vertices.

    Returns:
        Branches of ClusterTree in float32 (GeV, mm, ns), with clusterPt (massless) and clusterPhi.

    Shapes:
        mu, n_pv: (clusters,) -> (clusters,) each
    """
    log_energy = _draw_log_energy(rng, len(mu))
    rapidity = _truncated_normal(rng, np.zeros(len(mu)), 1.2, low=-2.5, high=2.5)
    gap = slice_weight(rapidity)
    origin = _draw_origin(rng, log_energy, gap, mu, n_pv)
    energy = 10.0**log_energy
    columns = {
        "clusterE": energy,
        "clusterPt": energy / np.cosh(rapidity),
        "clusterEta": rapidity,
        "clusterPhi": rng.uniform(-math.pi, math.pi, len(mu)),
        "nPrimVtx": n_pv,
        "avgMu": mu,
        **_draw_shape(rng, origin, mu),
        **_draw_times(rng, origin, energy),
    }
    significance = typical_log_significance(log_energy, mu) - 0.10 * origin.contaminated
    significance += 0.05 * (1 - origin.hadronic) - 0.12 * gap
    columns["cluster_SIGNIFICANCE"] = 10 ** rng.normal(significance, 0.13)
    columns["cluster_CENTER_MAG"] = _distance(rapidity, columns["cluster_CENTER_LAMBDA"])
    return {name: values.astype(np.float32) for name, values in columns.items()}


def _draw_log_energy(rng: np.random.Generator, clusters: int) -> Array:
    """Draw log10(E / GeV) of dN/dE ~ E^-1 / (1 + (E/8)^0.9), by inversion."""
    ends = np.log([_MIN_ENERGY, _MAX_ENERGY])
    low, high = -np.log(np.exp(-_BEND * ends) + _KNEE**-_BEND) / _BEND
    v = rng.uniform(low, high, clusters)
    return np.asarray(-np.log(np.exp(-_BEND * v) - _KNEE**-_BEND) / _BEND / math.log(10.0))


def _draw_origin(
    rng: np.random.Generator, log_energy: Array, gap: Array, mu: Array, n_pv: Array
) -> _Origin:
    """Draw what the clusters are; in the slice independently of everything that shows."""
    hadronic = _flag(rng, np.clip(0.66 - 0.07 * log_energy, 0.45, 0.75))
    hadronic = np.where(_flag(rng, gap), _flag(rng, np.full(len(gap), 0.62)), hadronic)
    crowding = 0.9 * (n_pv - 21) / 15 + 0.5 * (mu - 35) / 20 - 1.1 * (log_energy - 0.5)
    contaminated = _flag(rng, expit(-1.6 + crowding))
    return _Origin(
        energy=log_energy - 0.63,
        hadronic=hadronic,
        contaminated=contaminated,
        deep=_flag(rng, 0.22 * hadronic * (1 - contaminated)),
        late=_flag(rng, 0.35 * contaminated),
    )


def _draw_shape(rng: np.random.Generator, origin: _Origin, mu: Array) -> dict[str, Array]:
    """Draw the features of the shower shape."""
    d, h, u, deep, _ = origin
    f = rng.beta(
        np.where(deep > 0, 0.6, np.where(h > 0, 1.6, 14.0)),
        np.where(deep > 0, 6.0, np.where(h > 0, 1.1, 0.9)),
    )
    depth = 2.22 + 0.42 * h * (1 - 0.4 * f) + 0.55 * deep - 0.12 * u + 0.06 * d
    isolation = np.clip(0.66 - 0.0022 * (mu - 35) - 0.10 * u, 0.1, 0.9)
    return {
        "cluster_ENG_FRAC_EM": f,
        "cluster_CENTER_LAMBDA": np.minimum(10 ** rng.normal(depth, 0.30), _MAX_DEPTH),
        "cluster_FIRST_ENG_DENS": 10 ** rng.normal(-5.78 - 0.75 * h - 0.20 * u + 0.38 * d, 0.45),
        "cluster_LONGITUDINAL": _beta(rng, 0.62 + 0.14 * h + 0.05 * u, 5.0),
        "cluster_LATERAL": _beta(rng, 0.72 + 0.09 * h + 0.04 * u, 5.5),
        "cluster_PTD": _beta(rng, np.clip(0.42 - 0.09 * h - 0.03 * u - 0.03 * d, 0.08, 0.9), 11.0),
        "cluster_ISOLATION": _beta(rng, isolation, 3.4),
    }


def _draw_times(rng: np.random.Generator, origin: _Origin, energy: Array) -> dict[str, Array]:
    """Draw the signal time and the variance of the cell times, tiny where one cell is timed."""
    clusters = len(energy)
    other_crossing = rng.uniform(-25.0, 25.0, clusters) + rng.normal(0.0, 8.0, clusters)
    spread = 0.35 - 0.45 * origin.energy + 1.1 * origin.late + 0.5 * origin.contaminated
    one_cell = rng.random(clusters) < 0.12
    return {
        "cluster_time": rng.normal(0.0, np.sqrt(0.8**2 + 2.5**2 / energy))
        + origin.late * other_crossing,
        "cluster_SECOND_TIME": 10
        ** rng.normal(np.where(one_cell, -9.0, spread), np.where(one_cell, 1.2, 0.6)),
    }


def _distance(rapidity: Array, depth: Array) -> Array:
    """Distance of the centre from the origin [mm]: a barrel at 1.5 m, end-caps at 3.7 m."""
    barrel = (1500.0 + depth) * np.cosh(rapidity)
    end_cap = (3700.0 + depth) / np.tanh(np.maximum(np.abs(rapidity), _BARREL))
    return np.where(np.abs(rapidity) < _BARREL, barrel, end_cap)


def _flag(rng: np.random.Generator, probability: Array) -> Array:
    """Draw ones and zeros."""
    return (rng.random(len(probability)) < probability).astype(np.float64)


def _beta(rng: np.random.Generator, mean: Array, total: float) -> Array:
    """Draw from the beta law with a mean and the sum of its two parameters."""
    return rng.beta(mean * total, (1.0 - mean) * total)


def _truncated_normal(
    rng: np.random.Generator, mean: Array, sigma: float, *, low: float, high: float
) -> Array:
    """Draw from a normal law cut to an interval, by inversion."""
    below, above = ndtr((low - mean) / sigma), ndtr((high - mean) / sigma)
    drawn = mean + sigma * ndtri(below + (above - below) * rng.random(len(mean)))
    return np.asarray(np.clip(drawn, low, high), dtype=np.float64)
