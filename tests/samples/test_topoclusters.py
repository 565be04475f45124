from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from hepcalib.exceptions import ConfigError
from hepcalib.samples import cluster_response, response_density, topoclusters
from hepcalib.samples.topoclusters import simulate

if TYPE_CHECKING:
    from numpy.typing import NDArray

INTEGERS = {"runNumber": np.int32, "eventNumber": np.int64, "clusterIndex": np.int32}
BRANCHES = {
    *INTEGERS,
    *("clusterE", "clusterPt", "clusterEta", "clusterPhi", "nPrimVtx", "avgMu"),
    *("cluster_ENG_CALIB_TOT", "cluster_HAD_WEIGHT", "cluster_EM_PROBABILITY"),
    *("cluster_time", "cluster_SECOND_TIME", "cluster_SIGNIFICANCE", "cluster_CENTER_LAMBDA"),
    *("cluster_CENTER_MAG", "cluster_ENG_FRAC_EM", "cluster_FIRST_ENG_DENS"),
    *("cluster_LONGITUDINAL", "cluster_LATERAL", "cluster_PTD", "cluster_ISOLATION"),
    "cluster_ORACLE_RESPONSE",
}


def same(one: dict[str, NDArray[Any]], other: dict[str, NDArray[Any]]) -> bool:
    return all(np.array_equal(one[name], other[name], equal_nan=True) for name in BRANCHES)


@pytest.fixture(scope="module")
def clusters() -> dict[str, NDArray[Any]]:
    return simulate(20_000, seed=2)


@pytest.mark.parametrize("number", [0, 1, 5_000, 20_000])
def test_returns_the_number_of_clusters_asked_for(number: int) -> None:
    columns = simulate(number, seed=2)
    assert set(columns) == BRANCHES
    for name, values in columns.items():
        assert values.shape == (number,)
        assert values.dtype == INTEGERS.get(name, np.float32)


def test_longer_sample_begins_with_the_shorter_one(clusters: dict[str, NDArray[Any]]) -> None:
    begin = {name: values[:9_000] for name, values in clusters.items()}
    assert same(simulate(9_000, seed=2), begin)


def test_event_is_the_same_wherever_the_sample_begins(clusters: dict[str, NDArray[Any]]) -> None:
    later = clusters["eventNumber"] >= 1500
    tail = {name: values[later] for name, values in clusters.items()}
    assert same(simulate(int(later.sum()), seed=2, first_event=1500), tail)


def test_seeds_and_runs_give_other_samples(clusters: dict[str, NDArray[Any]]) -> None:
    for other in (simulate(20_000, seed=3), simulate(20_000, seed=2, run=2)):
        assert not np.isin(other["clusterE"], clusters["clusterE"][:100]).all()
        shared = np.isin(other["clusterE"], clusters["clusterE"]).mean()
        assert shared < 0.05  # of 20 000 float32, a few hundred coincide by chance


def test_clusters_of_an_event_share_its_pile_up(clusters: dict[str, NDArray[Any]]) -> None:
    event = clusters["eventNumber"]
    assert np.all(np.diff(event) >= 0)
    first = np.unique(event, return_index=True)[1]
    counts = np.diff(np.append(first, len(event)))
    assert counts.mean() > 5
    for name in ("avgMu", "nPrimVtx"):
        assert np.array_equal(np.repeat(clusters[name][first], counts), clusters[name])
    identities = np.stack([event, clusters["clusterIndex"].astype(np.int64)])
    assert np.unique(identities, axis=1).shape == identities.shape


def test_cuts_keep_what_the_reference_keeps() -> None:
    everything = simulate(100_000, seed=4, apply_cuts=False)
    passes = topoclusters.passes_cuts(everything)
    assert passes.mean() == pytest.approx(0.74, abs=0.005 + 4.5 * np.sqrt(0.74 * 0.26 / 1e5))
    kept = simulate(int(passes.sum()), seed=4)
    assert same({name: values[passes] for name, values in everything.items()}, kept)


def test_cuts_hold_in_the_sample(clusters: dict[str, NDArray[Any]]) -> None:
    assert clusters["cluster_ENG_CALIB_TOT"].min() > 0.3
    assert (clusters["clusterE"] / clusters["cluster_ENG_CALIB_TOT"]).min() > 0.1


def test_lost_share_is_the_one_of_the_density() -> None:
    everything = simulate(100_000, seed=6, apply_cuts=False)
    passes = topoclusters.passes_cuts(everything)
    expected = response_density.probability(cluster_response.density(everything))
    error = np.sqrt(np.sum(expected * (1 - expected))) / len(passes)
    assert passes.mean() == pytest.approx(expected.mean(), abs=4.5 * error)
    assert abs(passes.mean() - expected.mean() ** 2) > 20 * error  # a wrong density would show


def test_oracle_is_the_exact_median(clusters: dict[str, NDArray[Any]]) -> None:
    median = response_density.median(cluster_response.density(clusters))
    np.testing.assert_allclose(clusters["cluster_ORACLE_RESPONSE"], median, rtol=1e-6)


def test_local_weights_are_stored(clusters: dict[str, NDArray[Any]]) -> None:
    probability, weight = cluster_response.local_weights(clusters)
    np.testing.assert_allclose(clusters["cluster_EM_PROBABILITY"], probability, rtol=1e-6)
    np.testing.assert_allclose(clusters["cluster_HAD_WEIGHT"], weight, rtol=1e-6)


def test_dirty_clusters_are_there_before_the_cuts() -> None:
    total = 200_000
    dirty, clean = (simulate(total, seed=7, apply_cuts=False, dirty=d) for d in (True, False))
    spoiled = np.zeros(total, dtype=np.bool_)
    for name in ("E", "_FIRST_ENG_DENS", "_SECOND_TIME", "_SIGNIFICANCE"):
        bad = dirty[f"cluster{name}"] <= 0
        expected = 5e-3 / 4 * total
        assert bad.sum() == pytest.approx(expected, abs=4.5 * np.sqrt(expected)), name
        assert (dirty[f"cluster{name}"][bad] < 0).any(), name
        spoiled |= bad
    assert np.array_equal(np.isnan(dirty["cluster_ORACLE_RESPONSE"]), spoiled)
    assert not topoclusters.passes_cuts(dirty)[spoiled].any()
    inflated = np.abs(dirty["cluster_ENG_FRAC_EM"]) > 100
    assert inflated.sum() == pytest.approx(1e-4 * total, abs=4.5 * np.sqrt(1e-4 * total))
    truth = "cluster_ENG_CALIB_TOT"
    assert np.array_equal(dirty[truth][~inflated], clean[truth][~inflated])
    assert same(
        {name: values[~(spoiled | inflated)] for name, values in dirty.items()},
        {name: values[~(spoiled | inflated)] for name, values in clean.items()},
    )


def test_cuts_leave_only_the_inflated_fraction_of_the_dirty_clusters() -> None:
    kept = simulate(100_000, seed=7, dirty=True)
    assert np.isfinite(kept["cluster_ORACLE_RESPONSE"]).all()
    assert 0 < np.count_nonzero(np.abs(kept["cluster_ENG_FRAC_EM"]) > 100) < 40


@pytest.mark.parametrize("name", ["clusters", "seed", "run", "first_event"])
def test_negative_numbers_are_refused(name: str) -> None:
    n = {"clusters": 10, "seed": 1, "run": 1, "first_event": 0, name: -5}
    with pytest.raises(ConfigError, match=rf"{name} = -5"):
        simulate(n["clusters"], seed=n["seed"], run=n["run"], first_event=n["first_event"])
