"""The response of simulated topo-clusters: parameters of p(R|x) as functions of the features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from hepcalib.exceptions import DataError, ShapeError
from hepcalib.samples.response_density import ResponseDensity

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "MIN_RESPONSE",
    "MIN_TRUE_ENERGY",
    "STANDARD_NAMES",
    "density",
    "local_weights",
    "slice_weight",
    "typical_log_significance",
]

Array: TypeAlias = NDArray[np.float64]

MIN_TRUE_ENERGY = 0.3
"""Clusters with less deposited energy [GeV] are cut away."""

MIN_RESPONSE = 0.1
"""Clusters with a smaller response E_EM / E_dep are cut away."""

STANDARD_NAMES: dict[str, str] = {
    "clusterE": "energy",
    "clusterEta": "rapidity",
    "cluster_SIGNIFICANCE": "significance",
    "cluster_time": "time",
    "cluster_SECOND_TIME": "second_time",
    "cluster_CENTER_LAMBDA": "center_lambda",
    "cluster_ENG_FRAC_EM": "eng_frac_em",
    "cluster_FIRST_ENG_DENS": "first_eng_dens",
    "cluster_LONGITUDINAL": "longitudinal",
    "cluster_LATERAL": "lateral",
    "cluster_PTD": "ptd",
    "cluster_ISOLATION": "isolation",
    "nPrimVtx": "n_pv",
    "avgMu": "mu",
}
"""Branches that the response depends on, and the standard columns they become."""

_POSITIVE = ("energy", "significance", "second_time", "center_lambda", "first_eng_dens")


class _Features(NamedTuple):
    """What the response depends on: the standard columns, in float64."""

    energy: Array
    rapidity: Array
    significance: Array
    time: Array
    second_time: Array
    center_lambda: Array
    eng_frac_em: Array
    first_eng_dens: Array
    longitudinal: Array
    lateral: Array
    ptd: Array
    isolation: Array
    n_pv: Array
    mu: Array

    @property
    def log_energy(self) -> Array:
        """L = log10(E / GeV)."""
        return np.log10(self.energy)

    @property
    def depth(self) -> Array:
        """z_lam, the standardised depth of the centre along the shower axis."""
        return np.clip((np.log10(self.center_lambda) - 2.45) / 0.46, -3.0, 3.0)

    @property
    def compactness(self) -> Array:
        """z_rho, the standardised energy density at this energy."""
        excess = np.log10(self.first_eng_dens) + 6.15 - 0.38 * (self.log_energy - 0.63)
        return np.clip(excess / 0.60, -3.0, 3.0)


class _Shower(NamedTuple):
    """The shower without pile-up."""

    p_em: Array  # probability that it is electromagnetic
    hadronic: Array  # response R_h of a hadronic one


class _PileUp(NamedTuple):
    """The pile-up in the cells of the cluster."""

    contamination: Array  # C, large for a loose, late cluster
    fraction: Array  # kap, pile-up energy over cluster energy
    lateness: Array  # l, 0 in time to 1 far out of time


def density(columns: Mapping[str, NDArray[Any]]) -> ResponseDensity:
    r"""Exact density of the response R = E_EM / E_dep of simulated clusters, given their features.

    .. math:: \ln R\,|\,x \sim (1-p_2) N(m_1, s_1^2) + p_2 N(m_2, s_2^2), \quad
              \ln 0.1 < \ln R < \ln(E / 0.3\,\mathrm{GeV})

    Component 1 is signal-like, 2 contaminated by pile-up; the truncation is that of the cuts
    E_dep > 0.3 GeV and R > 0.1. Features, units and cuts follow arXiv:2412.04370.

    Args:
        columns: Branches of a simulated ClusterTree or the standard columns (see
            STANDARD_NAMES); a mapping of names to arrays, more names than needed are fine.

    Shapes:
        columns: (clusters,) each -> (clusters,)

    Raises:
        DataError: if columns are missing, or a value is not finite, or not positive if it must be.
        ShapeError: if the lengths differ.
    """
    x = _features(columns)
    shower, pile_up, gap = _shower(x), _pile_up(x), slice_weight(x.rapidity)
    p_em, r_h = shower
    c, kap, late = pile_up
    m1 = (
        np.log(p_em + (1 - p_em) * r_h) - 0.25 * gap + np.log1p(0.8 * kap) - 0.12 * late * x.mu / 35
    )
    s1_squared = (
        (0.10 * p_em + 0.38 * (1 - p_em)) ** 2 / (x.energy + 3)
        + (0.04 * np.sqrt(1 + x.mu / 8) / (x.energy + 0.4)) ** 2
        + (0.03 + 0.05 * (1 - p_em)) ** 2
        + p_em * (1 - p_em) * np.log(r_h) ** 2
        + (0.20 * late) ** 2 * x.mu / 35
        + (0.62 * gap) ** 2
    )
    crowding = 0.7 * (x.n_pv - 21) / 15 + 0.3 * (x.mu - 35) / 20 - 1.2 * (x.log_energy - 0.5)
    return ResponseDensity(
        p2=0.02 + 0.70 * expit(-1.4 + crowding + 0.7 * c + 0.8 * late),
        m1=m1,
        s1=np.sqrt(s1_squared),
        m2=m1 + np.log1p(0.7 * kap) + 0.15,
        s2=np.sqrt(s1_squared + (0.12 + 0.20 * kap / (1 + kap)) ** 2),
        low=np.full_like(m1, np.log(MIN_RESPONSE)),
        high=np.log(x.energy / MIN_TRUE_ENERGY),
    )


def local_weights(columns: Mapping[str, NDArray[Any]]) -> tuple[Array, Array]:
    """Probability of an electromagnetic shower and the local hadronic weight: a stand-in for LCW.

    The calibrated energy is weight times E_EM (no out-of-cluster or dead-material weight, since
    E_dep is local).

    Args:
        columns: As for density.

    Returns:
        EM_PROBABILITY in [0, 1] and HAD_WEIGHT, at least 1.

    Shapes:
        columns: (clusters,) each -> (clusters,), (clusters,)

    Raises:
        DataError: as density.
        ShapeError: as density.
    """
    x = _features(columns)
    p_em = expit(-0.4 + 1.6 * x.compactness - 1.2 * x.depth)
    hadronic = 1.0 - 0.30 * np.maximum(x.energy, 1.0) ** -0.18
    return p_em, 1.0 / (p_em + (1.0 - p_em) * hadronic)


def slice_weight(rapidity: Array) -> Array:
    """T, 1 in the transition slice 1.2 < |y| < 1.6 and 0 outside, with edges 0.02 wide.

    Args:
        rapidity: EM-scale rapidity y.

    Shapes:
        rapidity: (clusters,) -> (clusters,)
    """
    distance = np.abs(rapidity)
    return np.asarray(expit((distance - 1.2) / 0.02) * expit((1.6 - distance) / 0.02), np.float64)


def typical_log_significance(log_energy: Array, mu: Array) -> Array:
    """Typical log10 of the significance of a cluster, more with energy, less with pile-up noise.

    Args:
        log_energy: L = log10(E / GeV).
        mu: Mean interactions per crossing.

    Shapes:
        log_energy, mu: (clusters,) -> (clusters,)
    """
    return 0.887 + 0.70 * (log_energy - 0.635) - 0.5 * np.log10((1 + mu / 30) / 2.15)


def _shower(x: _Features) -> _Shower:
    """Electromagnetic probability, and hadronic response after Groom and Wigmans."""
    gap = slice_weight(x.rapidity)
    f = np.clip(x.eng_frac_em, 0.0, 1.0)
    shape = (
        3.2 * (f - 0.65)
        + 0.9 * x.compactness
        - 0.7 * x.depth
        - 0.35 * (x.longitudinal - 0.70) / 0.20
        - 0.25 * (x.lateral - 0.78) / 0.17
        + 0.35 * (x.ptd - 0.36) / 0.14
    )
    h_over_e = (1 - gap) * (f / 1.50 + (1 - f) / 1.36) + 0.70 * gap
    ionisation = 1 / (1 + (x.energy / 0.8) ** 2)
    showering = 1 - (1 - h_over_e) * np.maximum(x.energy, 1.0) ** (0.82 - 1)
    return _Shower(
        p_em=(1 - gap) * expit(-0.45 + shape) + 0.40 * gap,
        hadronic=(1 - ionisation) * showering + 1.10 * ionisation,
    )


def _pile_up(x: _Features) -> _PileUp:
    """Energy that pile-up adds, larger for a loose, isolated or late cluster."""
    excess = np.log10(x.significance) - typical_log_significance(x.log_energy, x.mu)
    contamination = np.clip(
        -0.45 * np.clip(excess / 0.16, -3.0, 3.0)
        - 0.30 * (x.ptd - 0.36) / 0.14
        + 0.35 * (np.clip(np.log10(x.second_time), -2.0, 3.0) - 0.4)
        - 0.25 * np.clip((x.isolation - 0.62) / 0.24, -2.5, 2.5),
        -2.5,
        2.5,
    )
    energy = 0.020 * (x.n_pv - 1) * (1 + 0.15 * np.abs(x.rapidity)) * np.exp(contamination)
    return _PileUp(
        contamination=contamination,
        fraction=energy / (x.energy + 0.10),
        lateness=np.tanh(np.abs(x.time) / 25.0),
    )


def _features(columns: Mapping[str, NDArray[Any]]) -> _Features:
    """Pick and check the columns, under either name."""
    found = {
        standard: branch if branch in columns else standard
        for branch, standard in STANDARD_NAMES.items()
    }
    missing = [f"{b} (or {s})" for b, s in STANDARD_NAMES.items() if found[s] not in columns]
    if missing:
        msg = f"cluster_response: missing {', '.join(missing)}. Present: {', '.join(columns)}"
        raise DataError(msg)
    x = _Features(*(np.asarray(columns[found[n]], np.float64) for n in _Features._fields))
    lengths = {found[name]: values.shape for name, values in x._asdict().items()}
    if len(set(lengths.values())) > 1:
        msg = f"cluster_response: columns of different lengths: {lengths}"
        raise ShapeError(msg)
    for name, values in x._asdict().items():
        _check(found[name], values, positive=name in _POSITIVE)
    return x


def _check(name: str, values: Array, *, positive: bool) -> None:
    """Refuse values for which no response is defined."""
    wrong = ~np.isfinite(values)
    if positive:
        wrong |= values <= 0.0
    rows = np.flatnonzero(wrong)
    if rows.size:
        msg = (
            f"cluster_response: {name} is {values[rows[0]]} at row {rows[0]} ({rows.size} such "
            f"rows); it must be finite{' and positive' if positive else ''}"
        )
        raise DataError(msg)
