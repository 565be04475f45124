from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy import stats

from hepcalib.samples.cluster_features import draw_crossings, draw_features

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

CLUSTERS = 60_000
P_MIN = 1e-3  # of a test that holds; the broken twins must fall below 1e-9


@pytest.fixture(scope="module")
def x() -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(8)
    return draw_features(rng, *draw_crossings(rng, CLUSTERS))


def uniformity(probability: NDArray[np.float64]) -> float:
    """p-value of a law, from its distribution function at the drawn values."""
    return float(stats.kstest(probability, "uniform").pvalue)


def energy_cdf(energy: NDArray[np.float64], *, knee: float) -> NDArray[np.float64]:
    """Integral over ln E of 1 / (1 + (E/knee)^0.9) from 0.2 GeV, by the trapezoidal rule."""
    grid = np.linspace(np.log(0.2), np.log(1600.0), 20_001)
    height = 1 / (1 + (np.exp(grid) / knee) ** 0.9)
    area = np.concatenate([[0.0], np.cumsum((height[1:] + height[:-1]) / 2)])
    return np.asarray(np.interp(np.log(energy), grid, area / area[-1]), np.float64)


def mu_cdf(mu: NDArray[np.float64], *, flat: float) -> NDArray[np.float64]:
    normal = stats.truncnorm.cdf(mu, -34.5 / 12, 45.5 / 12, loc=34.5, scale=12)
    return np.asarray((1 - flat) * normal + flat * mu / 80)


def slow_cluster(rng: np.random.Generator, mu: float, n_pv: float) -> dict[str, float]:
    """Features of one cluster, drawn one by one and by rejection."""

    def flag(probability: float) -> bool:
        return bool(rng.random() < probability)

    def beta(mean: float, total: float) -> float:
        return rng.beta(mean * total, total - mean * total)

    while True:
        energy = 0.2 * 8000 ** rng.random()
        if flag(1 / (1 + (energy / 8) ** 0.9)):
            break
    while abs(y := rng.normal(0, 1.2)) > 2.5:
        pass
    log_e = math.log10(energy)
    d, nu = log_e - 0.63, n_pv - 1
    t = 1 / (1 + math.exp((1.2 - abs(y)) / 0.02)) / (1 + math.exp((abs(y) - 1.6) / 0.02))
    h = flag(0.62) if flag(t) else flag(min(max(0.66 - 0.07 * log_e, 0.45), 0.75))
    crowded = -1.6 + 0.9 * (nu - 20) / 15 + 0.5 * (mu - 35) / 20 - 1.1 * (log_e - 0.5)
    u = flag(1 / (1 + math.exp(-crowded)))
    deep, late = h and not u and flag(0.22), u and flag(0.35)
    f = rng.beta(0.6, 6) if deep else (rng.beta(1.6, 1.1) if h else rng.beta(14, 0.9))
    depth = 2.22 + 0.42 * h * (1 - 0.4 * f) + 0.55 * deep - 0.12 * u + 0.06 * d
    zbar = 0.887 + 0.70 * (log_e - 0.635) - 0.5 * math.log10((1 + mu / 30) / 2.15)
    time = rng.normal(0, math.sqrt(0.8**2 + 2.5**2 / energy))
    if late:
        time += rng.choice([-25, 25]) * rng.random() + rng.normal(0, 8)
    spread = (
        rng.normal(-9, 1.2)
        if flag(0.12)
        else rng.normal(0.35 - 0.45 * d + 1.1 * late + 0.5 * u, 0.6)
    )
    return {
        "clusterE": energy,
        "clusterEta": y,
        "cluster_ENG_FRAC_EM": f,
        "cluster_CENTER_LAMBDA": min(10 ** rng.normal(depth, 0.30), 3000),
        "cluster_FIRST_ENG_DENS": 10 ** rng.normal(-5.78 - 0.75 * h - 0.20 * u + 0.38 * d, 0.45),
        "cluster_LONGITUDINAL": beta(0.62 + 0.14 * h + 0.05 * u, 5),
        "cluster_LATERAL": beta(0.72 + 0.09 * h + 0.04 * u, 5.5),
        "cluster_PTD": beta(min(max(0.42 - 0.09 * h - 0.03 * u - 0.03 * d, 0.08), 0.9), 11),
        "cluster_ISOLATION": beta(min(max(0.66 - 0.0022 * (mu - 35) - 0.10 * u, 0.1), 0.9), 3.4),
        "cluster_SIGNIFICANCE": 10 ** rng.normal(zbar - 0.10 * u + 0.05 * (1 - h) - 0.12 * t, 0.13),
        "cluster_time": time,
        "cluster_SECOND_TIME": 10**spread,
    }


def observables(x: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.float64]]:
    """Features in the variables that show a wrong constant best."""
    out = {name: values.astype(np.float64) for name, values in x.items()}
    for name in ("SIGNIFICANCE", "CENTER_LAMBDA", "FIRST_ENG_DENS", "SECOND_TIME"):
        out[f"cluster_{name}"] = np.log10(out[f"cluster_{name}"])
    out["clusterE"] = np.log10(out["clusterE"])
    out["cluster_SIGNIFICANCE"] -= 0.70 * out["clusterE"]
    out["cluster_FIRST_ENG_DENS"] -= 0.38 * out["clusterE"]
    return out


def same_law(one: NDArray[np.float64], other: NDArray[np.float64]) -> None:
    """Compare the distribution functions and, which those see badly, the widths."""
    assert stats.ks_2samp(one, other).pvalue > P_MIN / 10
    tail = np.mean((other - other.mean()) ** 4) / np.var(other) ** 2
    error = math.sqrt((tail - 1) / 4 * (1 / len(one) + 1 / len(other)))
    assert np.std(one) / np.std(other) == pytest.approx(1, abs=4.5 * error)


def test_features_are_distributed_as_those_of_a_slow_loop(x: dict[str, NDArray[Any]]) -> None:
    rng = np.random.default_rng(9)
    events = zip(*draw_crossings(rng, CLUSTERS // 2), strict=True)
    drawn = [slow_cluster(rng, mu, n_pv) for mu, n_pv in events]
    slow = observables({name: np.array([one[name] for one in drawn]) for name in drawn[0]})
    fast = observables({name: x[name] for name in slow})
    late = [np.abs(columns["cluster_time"]) > 10 for columns in (slow, fast)]
    for name in slow:
        same_law(slow[name], fast[name])
        same_law(slow[name][late[0]], fast[name][late[1]])
    share = late[1].mean()
    error = math.sqrt(share * (1 - share) * 3 / CLUSTERS)
    assert late[0].mean() == pytest.approx(share, abs=4.5 * error)
    correlation = [np.corrcoef(np.array(list(columns.values()))) for columns in (slow, fast)]
    error = math.sqrt(3 / CLUSTERS)
    np.testing.assert_allclose(correlation[0], correlation[1], atol=4.5 * error)
    assert stats.ks_2samp(slow["cluster_PTD"] + 0.01, fast["cluster_PTD"]).pvalue < 1e-9


def test_energy_follows_its_spectrum(x: dict[str, NDArray[Any]]) -> None:
    assert uniformity(energy_cdf(x["clusterE"], knee=8.0)) > P_MIN
    assert uniformity(energy_cdf(x["clusterE"], knee=6.0)) < 1e-9


def test_mu_follows_its_law() -> None:
    mu, _ = draw_crossings(np.random.default_rng(3), CLUSTERS)
    assert uniformity(mu_cdf(mu, flat=0.15)) > P_MIN
    assert uniformity(mu_cdf(mu, flat=0.0)) < 1e-9


def test_vertices_are_one_and_a_poisson_number_for_each_mu() -> None:
    mu, n_pv = draw_crossings(np.random.default_rng(4), CLUSTERS)
    expected = 0.62 * mu - 0.0012 * mu**2
    z = (n_pv - 1 - expected) / np.sqrt(expected)
    some = mu > 5  # where the third and fourth moments of a Poisson law are tame
    count = int(some.sum())
    assert abs(z[some].mean()) < 4.5 / np.sqrt(count)
    assert abs((z[some] ** 2).mean() - 1) < 4.5 * np.sqrt((2 + 1 / 3) / count)
    assert n_pv.min() >= 1


def test_rapidity_is_a_truncated_normal(x: dict[str, NDArray[Any]]) -> None:
    y = x["clusterEta"].astype(np.float64)
    ends = 2.5 / 1.2
    assert uniformity(stats.truncnorm.cdf(y, -ends, ends, scale=1.2)) > P_MIN
    assert uniformity(stats.norm.cdf(y, scale=1.2)) < 1e-9


def test_transverse_momentum_is_that_of_a_massless_cluster(x: dict[str, NDArray[Any]]) -> None:
    np.testing.assert_allclose(x["clusterPt"] * np.cosh(x["clusterEta"]), x["clusterE"], rtol=1e-5)


def test_centre_lies_behind_the_barrel_or_the_end_cap(x: dict[str, NDArray[Any]]) -> None:
    y, depth = np.abs(x["clusterEta"].astype(np.float64)), x["cluster_CENTER_LAMBDA"]
    barrel = y < 1.475
    radius = (x["cluster_CENTER_MAG"] / np.cosh(y))[barrel]
    along = (x["cluster_CENTER_MAG"] * np.tanh(y))[~barrel]
    np.testing.assert_allclose(radius, 1500 + depth[barrel], rtol=1e-5)
    np.testing.assert_allclose(along, 3700 + depth[~barrel], rtol=1e-5)


def test_features_stay_in_their_ranges(x: dict[str, NDArray[Any]]) -> None:
    for name in ("ENG_FRAC_EM", "LONGITUDINAL", "LATERAL", "PTD", "ISOLATION"):
        values = x[f"cluster_{name}"]
        assert 0 <= values.min() < values.max() <= 1, name
    for name in ("SIGNIFICANCE", "FIRST_ENG_DENS", "SECOND_TIME", "CENTER_LAMBDA"):
        assert x[f"cluster_{name}"].min() > 0, name
    assert x["cluster_CENTER_LAMBDA"].max() == 3000
    assert all(values.dtype == np.float32 for values in x.values())


def test_one_timed_cell_has_a_tiny_variance(x: dict[str, NDArray[Any]]) -> None:
    share = np.mean(x["cluster_SECOND_TIME"] < 1e-4)
    assert share == pytest.approx(0.12, abs=4.5 * np.sqrt(0.12 * 0.88 / CLUSTERS))


def test_shapes_carry_no_energy_dependence_of_the_shower_kind_in_the_slice(
    x: dict[str, NDArray[Any]],
) -> None:
    y = np.abs(x["clusterEta"])
    inside = (y > 1.3) & (y < 1.5)
    log_energy, f = np.log(x["clusterE"]), x["cluster_ENG_FRAC_EM"]
    assert stats.pearsonr(f[inside], log_energy[inside]).pvalue > P_MIN
    assert stats.pearsonr(f[~inside], log_energy[~inside]).pvalue < 1e-9
