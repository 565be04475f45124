from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest
from scipy import stats

from hepcalib.exceptions import DataError, ShapeError
from hepcalib.samples import cluster_response, response_density, topoclusters

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from hepcalib.samples.response_density import ResponseDensity

PUBLISHED_CLUSTERS = 740_000  # behind the numbers that the density is compared with
MAX_PULL = 4.5


class Sample(NamedTuple):
    mixture: ResponseDensity
    energy: NDArray[np.float64]
    response: NDArray[np.float64]


@pytest.fixture(scope="module")
def clusters() -> dict[str, NDArray[Any]]:
    return topoclusters.simulate(500, seed=5)


@pytest.fixture(
    scope="module",
    params=[150_000, pytest.param(1_000_000, marks=pytest.mark.validation)],
)
def sample(request: pytest.FixtureRequest) -> Sample:
    columns = topoclusters.simulate(request.param, seed=21)
    energy = columns["clusterE"].astype(np.float64)
    response = energy / columns["cluster_ENG_CALIB_TOT"]
    return Sample(cluster_response.density(columns), energy, response)


def sgm(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def clip(x: float, low: float, high: float) -> float:
    return min(max(x, low), high)


def slow_density(x: Mapping[str, float]) -> tuple[float, float, float, float, float]:
    """p2, m1, s1, m2, s2 of one cluster, written down term by term."""
    e, y, mu, nu = x["clusterE"], abs(x["clusterEta"]), x["avgMu"], x["nPrimVtx"] - 1
    log_e = math.log10(e)
    d = log_e - 0.63
    t = sgm((y - 1.2) / 0.02) * sgm((1.6 - y) / 0.02)
    f = clip(x["cluster_ENG_FRAC_EM"], 0, 1)
    z_lam = clip((math.log10(x["cluster_CENTER_LAMBDA"]) - 2.45) / 0.46, -3, 3)
    z_rho = clip((math.log10(x["cluster_FIRST_ENG_DENS"]) + 6.15 - 0.38 * d) / 0.60, -3, 3)
    z_lo = (x["cluster_LONGITUDINAL"] - 0.70) / 0.20
    z_la = (x["cluster_LATERAL"] - 0.78) / 0.17
    z_p = (x["cluster_PTD"] - 0.36) / 0.14
    z_i = clip((x["cluster_ISOLATION"] - 0.62) / 0.24, -2.5, 2.5)
    zbar = 0.887 + 0.70 * (log_e - 0.635) - 0.5 * math.log10((1 + mu / 30) / 2.15)
    z_z = clip((math.log10(x["cluster_SIGNIFICANCE"]) - zbar) / 0.16, -3, 3)
    v = clip(math.log10(x["cluster_SECOND_TIME"]), -2, 3)
    late = math.tanh(abs(x["cluster_time"]) / 25)
    shape = -0.45 + 3.2 * (f - 0.65) + 0.9 * z_rho - 0.7 * z_lam
    p_em = (1 - t) * sgm(shape - 0.35 * z_lo - 0.25 * z_la + 0.35 * z_p) + 0.40 * t
    h_e = (1 - t) * (f / 1.50 + (1 - f) / 1.36) + 0.70 * t
    w = 1 / (1 + (e / 0.8) ** 2)
    r_h = (1 - w) * (1 - (1 - h_e) * max(e, 1) ** (0.82 - 1)) + 1.10 * w
    c = clip(-0.45 * z_z - 0.30 * z_p + 0.35 * (v - 0.4) - 0.25 * z_i, -2.5, 2.5)
    kap = 0.020 * nu * (1 + 0.15 * y) * math.exp(c) / (e + 0.10)
    m1 = math.log(p_em + (1 - p_em) * r_h) - 0.25 * t
    m1 += math.log(1 + 0.8 * kap) - 0.12 * late * mu / 35
    crowded = -1.4 + 0.7 * (nu - 20) / 15 + 0.3 * (mu - 35) / 20 - 1.2 * (log_e - 0.5)
    p2 = 0.02 + 0.70 * sgm(crowded + 0.7 * c + 0.8 * late)
    variance = (0.10 * p_em + 0.38 * (1 - p_em)) ** 2 / (e + 3)
    variance += (0.04 * math.sqrt(1 + mu / 8) / (e + 0.4)) ** 2 + (0.03 + 0.05 * (1 - p_em)) ** 2
    variance += p_em * (1 - p_em) * math.log(r_h) ** 2
    variance += (0.20 * late) ** 2 * mu / 35 + (0.62 * t) ** 2
    s2 = math.sqrt(variance + (0.12 + 0.20 * kap / (1 + kap)) ** 2)
    return p2, m1, math.sqrt(variance), m1 + math.log(1 + 0.7 * kap) + 0.15, s2


def test_density_agrees_with_the_formula_written_down_for_one_cluster(
    clusters: dict[str, NDArray[Any]],
) -> None:
    found = cluster_response.density(clusters)
    for row in range(len(found.p2)):
        expected = slow_density({name: float(values[row]) for name, values in clusters.items()})
        np.testing.assert_allclose([values[row] for values in found[:5]], expected, rtol=1e-10)


def test_truncation_is_that_of_the_cuts(clusters: dict[str, NDArray[Any]]) -> None:
    found = cluster_response.density(clusters)
    energy = clusters["clusterE"].astype(np.float64)
    np.testing.assert_allclose(np.exp(found.low), 0.1, rtol=1e-12)
    np.testing.assert_allclose(energy / np.exp(found.high), 0.3, rtol=1e-12)


def test_standard_columns_give_the_same_density_as_branches(
    clusters: dict[str, NDArray[Any]],
) -> None:
    standard = {new: clusters[old] for old, new in cluster_response.STANDARD_NAMES.items()}
    for one, other in zip(
        cluster_response.density(standard), cluster_response.density(clusters), strict=True
    ):
        np.testing.assert_array_equal(one, other)


def test_local_weight_is_one_for_an_electromagnetic_cluster_and_lifts_a_hadronic_one(
    clusters: dict[str, NDArray[Any]],
) -> None:
    shower = {name: values[:2].copy() for name, values in clusters.items()}
    shower["clusterE"][:] = 100.0
    shower["cluster_FIRST_ENG_DENS"][:] = [1e-2, 1e-9]  # z_rho at its ends, +-3
    shower["cluster_CENTER_LAMBDA"][:] = [10.0, 3000.0]
    probability, weight = cluster_response.local_weights(shower)
    z_lam = (math.log10(3000) - 2.45) / 0.46
    p = sgm(-0.4 - 1.6 * 3 - 1.2 * z_lam)
    assert probability.tolist() == pytest.approx([sgm(-0.4 + 1.6 * 3 + 1.2 * 3), p], rel=1e-6)
    assert weight[0] == pytest.approx(1.0, abs=1e-3)
    assert weight[1] == pytest.approx(1 / (p + (1 - p) * (1 - 0.30 * 100**-0.18)), rel=1e-6)


def test_slice_weight_is_one_inside_a_half_at_the_edges_and_zero_outside() -> None:
    found = cluster_response.slice_weight(np.array([0.0, 1.2, 1.4, -1.4, -1.6, 2.5]))
    assert found.tolist() == pytest.approx([0, 0.5, 1, 1, 0.5, 0], abs=1e-4)


def test_missing_columns_are_named_all_at_once(clusters: dict[str, NDArray[Any]]) -> None:
    partial = {name: v for name, v in clusters.items() if name not in {"clusterE", "avgMu"}}
    with pytest.raises(
        DataError, match=r"missing clusterE \(or energy\), avgMu \(or mu\)\. Present: "
    ):
        cluster_response.density(partial)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("clusterE", 0.0),
        ("cluster_SECOND_TIME", -1.0),
        ("avgMu", math.nan),
        ("clusterEta", math.inf),
    ],
)
def test_impossible_feature_is_refused_with_its_row(
    clusters: dict[str, NDArray[Any]], name: str, value: float
) -> None:
    broken = {**clusters, name: clusters[name].copy()}
    broken[name][[7, 9]] = value
    with pytest.raises(DataError, match=rf"{name} is {value} at row 7 \(2 such rows\)"):
        cluster_response.density(broken)


def test_columns_of_different_lengths_are_refused(clusters: dict[str, NDArray[Any]]) -> None:
    with pytest.raises(ShapeError, match=r"'avgMu': \(3,\)"):
        cluster_response.density({**clusters, "avgMu": clusters["avgMu"][:3]})


def test_response_is_distributed_as_the_density_says(sample: Sample) -> None:
    pit = response_density.cdf(sample.mixture, sample.response)
    assert stats.kstest(pit, "uniform").pvalue > 1e-3
    other = response_density.shifted(sample.mixture, 0.1)
    assert stats.kstest(response_density.cdf(other, sample.response), "uniform").pvalue < 1e-9
    wide = sample.mixture._replace(s1=1.1 * sample.mixture.s1)
    assert stats.kstest(response_density.cdf(wide, sample.response), "uniform").pvalue < 1e-9


@pytest.mark.parametrize(("g", "unshifted"), [(0.5, 0.535), (-0.5, 0.471)])
def test_weighted_sample_follows_the_shifted_density_only(
    sample: Sample, g: float, unshifted: float
) -> None:
    weight = (sample.energy / sample.response) ** -g
    weight /= weight.mean()
    shifted = response_density.shifted(sample.mixture, g)
    pit = response_density.cdf(shifted, sample.response)
    right = np.average(pit, weights=weight)
    error = math.sqrt(np.mean((weight * (pit - 0.5)) ** 2) / len(pit))
    assert right == pytest.approx(0.5, abs=MAX_PULL * error)
    wrong = np.average(response_density.cdf(sample.mixture, sample.response), weights=weight)
    both = error * math.sqrt(1 + len(pit) / PUBLISHED_CLUSTERS)
    assert wrong == pytest.approx(unshifted, abs=5e-4 + MAX_PULL * both)
    assert abs(wrong - 0.5) > MAX_PULL * error


@pytest.mark.parametrize(
    ("g", "moves"), [(0.5, (2.2, 2.7, 1.6, 0.8, 0.4)), (-0.5, (-2.1, -2.5, -1.6, -0.8, -0.4))]
)
def test_shifted_spectrum_moves_the_median(
    sample: Sample, g: float, moves: tuple[float, ...]
) -> None:
    shifted = response_density.median(response_density.shifted(sample.mixture, g))
    change = 100 * (shifted / response_density.median(sample.mixture) - 1)
    edges = np.array([0.3, 1, 3, 10, 100, 1600])
    for low, high, move in zip(edges[:-1], edges[1:], moves, strict=True):
        inside = change[(sample.energy >= low) & (sample.energy < high)]
        below, middle, above = np.quantile(inside, [0.45, 0.5, 0.55])
        error = (above - below) / 0.1 * 0.5 / math.sqrt(min(len(inside), PUBLISHED_CLUSTERS / 10))
        assert middle == pytest.approx(move, abs=0.05 + MAX_PULL * error)


def test_likelihood_of_the_density_is_the_published_one(sample: Sample) -> None:
    nll = response_density.nll(sample.mixture, sample.response)
    error = nll.std() / math.sqrt(len(nll))
    assert nll.mean() == pytest.approx(-1.032, abs=MAX_PULL * math.hypot(error, 1e-3))
    other = response_density.shifted(sample.mixture, 0.5)
    worse = response_density.nll(other, sample.response) - nll
    assert worse.mean() > 10 * worse.std() / math.sqrt(len(nll))
