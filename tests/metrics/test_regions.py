from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from hepcalib import hists, metrics
from hepcalib.samples import cluster_response, response_density, topoclusters

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hist import Hist
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

BRANCHES = {
    "energy": "clusterE",
    "rapidity": "clusterEta",
    "significance": "cluster_SIGNIFICANCE",
    "time": "cluster_time",
    "second_time": "cluster_SECOND_TIME",
    "center_lambda": "cluster_CENTER_LAMBDA",
    "center_mag": "cluster_CENTER_MAG",
    "eng_frac_em": "cluster_ENG_FRAC_EM",
    "first_eng_dens": "cluster_FIRST_ENG_DENS",
    "longitudinal": "cluster_LONGITUDINAL",
    "lateral": "cluster_LATERAL",
    "ptd": "cluster_PTD",
    "isolation": "cluster_ISOLATION",
    "n_pv": "nPrimVtx",
    "mu": "avgMu",
}
BELOW, VALLEY, ABOVE = 0.1, 0.5, 0.7


def filled(values: Mapping[str, Floats], uncertainty: Floats) -> dict[str, Hist[Any]]:
    made = {}
    for name, column in values.items():
        made[name] = hists.feature_uncertainty(name)
        hists.fill_feature_uncertainty(made[name], values=column, uncertainty=uncertainty)
    return made


def two(feature: str, above: Floats, below: Floats) -> dict[str, Hist[Any]]:
    sigma = np.repeat([ABOVE, BELOW], [above.size, below.size])
    return filled({feature: np.concatenate([above, below])}, sigma)


@pytest.fixture(scope="module")
def clusters() -> tuple[dict[str, Floats], Floats]:
    """Features and the exact relative uncertainty of simulated clusters."""
    columns = topoclusters.simulate(40_000, seed=17)
    values = {name: np.asarray(columns[b], np.float64) for name, b in BRANCHES.items()}
    density = cluster_response.density(columns)
    return values, np.log(10.0) * response_density.sigma_log10(density)


def valley_of(sigma: Floats) -> float | None:
    spectrum = hists.uncertainty()
    hists.fill_uncertainty(spectrum, kind="total", uncertainty=sigma)
    return metrics.uncertainty_spectrum(spectrum)["total"].valley


def test_the_transition_region_is_found_among_all_features(
    clusters: tuple[dict[str, Floats], Floats],
) -> None:
    values, sigma = clusters
    valley = valley_of(sigma)
    assert valley is not None
    found = metrics.large_uncertainty_region(filled(values, sigma), valley)
    assert found is not None
    assert found.feature == "rapidity"
    assert found.intervals == ((1.2, 1.6),)
    assert found.text == "1.2 < |rapidity| < 1.6"
    high, inside = sigma > valley, (np.abs(values["rapidity"]) > 1.2)
    inside &= np.abs(values["rapidity"]) < 1.6
    # The valley is taken at an edge of bins 7 % wide.
    assert found.share_above_inside == pytest.approx(inside[high].mean(), abs=0.03)
    assert found.share_below_inside == pytest.approx(inside[~high].mean(), abs=0.01)
    assert found.purity == pytest.approx(high[inside].mean(), abs=0.05)
    assert found.share_above_inside > 0.9
    names = [name for name, _ in found.ranking]
    assert names[0] == "rapidity"
    assert set(names) == set(BRANCHES)
    assert found.separation == dict(found.ranking)["rapidity"] > 0.8


def test_shuffled_features_have_no_region(clusters: tuple[dict[str, Floats], Floats]) -> None:
    values, sigma = clusters
    rng = np.random.default_rng(121)
    shuffled = {name: rng.permutation(column) for name, column in values.items()}
    histograms = filled(shuffled, sigma)
    assert metrics.large_uncertainty_region(histograms, 0.52) is None
    for split in metrics.feature_splits(histograms, 0.52).values():
        assert split.separation < 3.0 * split.separation_limit


def test_without_a_valley_there_is_no_region(clusters: tuple[dict[str, Floats], Floats]) -> None:
    values, sigma = clusters
    outside = sigma[(np.abs(values["rapidity"]) < 1.1) | (np.abs(values["rapidity"]) > 1.7)]
    assert valley_of(outside) is None
    assert metrics.large_uncertainty_region(filled(values, sigma), None) is None


def test_without_the_rapidity_what_follows_from_it_is_found(
    clusters: tuple[dict[str, Floats], Floats],
) -> None:
    values, sigma = clusters
    others = {name: column for name, column in values.items() if name != "rapidity"}
    found = metrics.large_uncertainty_region(filled(others, sigma), 0.52)
    assert found is not None
    assert found.feature == "center_mag"
    assert found.text.endswith(" mm")
    blind = {name: column for name, column in others.items() if name != "center_mag"}
    assert metrics.large_uncertainty_region(filled(blind, sigma), 0.52) is None


def test_separation_is_the_closed_form() -> None:
    rng = np.random.default_rng(122)
    rows = 20_000
    # p on [0, 40], q on [0, 80]: S = [ (1 - 1/2)^2 / (3/2) + (1/2)^2 / (1/2) ] / 2 = 1/3.
    split = metrics.feature_splits(
        two("mu", rng.uniform(0.0, 40.0, rows), rng.uniform(0.0, 80.0, rows)), VALLEY
    )["mu"]
    assert split.separation == pytest.approx(1.0 / 3.0, abs=0.01)
    assert split.above.sum() == pytest.approx(1.0)
    apart = metrics.feature_splits(two("mu", np.full(50, 5.0), np.full(50, 75.0)), VALLEY)["mu"]
    assert apart.separation == 1.0
    same = metrics.feature_splits(two("mu", np.full(50, 5.0), np.full(90, 5.0)), VALLEY)["mu"]
    assert same.separation == 0.0
    assert same.separation_limit == pytest.approx(0.25 * (1 / 50 + 1 / 90))


def test_separation_of_one_distribution_is_its_limit_on_average() -> None:
    rng, repeats = np.random.default_rng(123), 60
    found = [
        metrics.feature_splits(
            two("mu", rng.uniform(0.0, 80.0, 500), rng.uniform(0.0, 80.0, 4000)), VALLEY
        )["mu"]
        for _ in range(repeats)
    ]
    limit = np.mean([split.separation_limit for split in found])
    # 4 S / (1/n + 1/m) is close to chi2 with 39 degrees: 2.5 % low, width sqrt(2 / 39) each.
    mean = np.mean([split.separation for split in found])
    assert mean == pytest.approx(limit, rel=0.025 + 4.0 * np.sqrt(2.0 / 39.0 / repeats))


def test_rapidities_are_folded_and_nothing_is_lost() -> None:
    rng = np.random.default_rng(124)
    y = rng.normal(0.0, 1.5, 5000)
    split = metrics.feature_splits(two("rapidity", y, y), VALLEY)["rapidity"]
    expected = np.histogram(np.abs(y), bins=split.edges)[0] / y.size
    assert np.allclose(split.above, expected, atol=1e-12)  # normalised with the overflow
    assert split.edges[[0, -1]].tolist() == [0.0, 2.5]
    assert split.label == "$|y|$"


def test_a_region_may_consist_of_two_intervals() -> None:
    rng = np.random.default_rng(125)
    above = np.concatenate([rng.uniform(10.0, 20.0, 3000), rng.uniform(60.0, 70.0, 2000)])
    found = metrics.large_uncertainty_region(
        two("mu", above, rng.uniform(0.0, 80.0, 20_000)), VALLEY
    )
    assert found is not None
    assert found.intervals == ((10.0, 20.0), (60.0, 70.0))
    assert found.text == "10 < mu < 20 or 60 < mu < 70"
    assert found.share_above_inside == 1.0
    assert found.share_below_inside == pytest.approx(0.25, abs=4.0 * found.share_below_error)
    assert found.purity == pytest.approx(0.5, abs=4.0 * found.purity_error)


def test_a_minority_is_no_region() -> None:
    rng = np.random.default_rng(126)
    above = np.concatenate([rng.uniform(10.0, 20.0, 2000), rng.uniform(0.0, 80.0, 5000)])
    histograms = two("mu", above, rng.uniform(0.0, 80.0, 20_000))
    assert metrics.large_uncertainty_region(histograms, VALLEY) is None
    found = metrics.large_uncertainty_region(histograms, VALLEY, minimum_share=0.3)
    assert found is not None
    assert found.intervals == ((10.0, 20.0),)


def test_the_scale_of_the_weights_does_not_matter() -> None:
    rng = np.random.default_rng(127)
    histograms = two("mu", rng.uniform(10.0, 20.0, 500), rng.uniform(0.0, 80.0, 4000))
    scaled = {name: 0.25 * histogram for name, histogram in histograms.items()}
    one, other = (metrics.large_uncertainty_region(some, VALLEY) for some in (histograms, scaled))
    assert one is not None
    assert other is not None
    assert one[3:9] == pytest.approx(other[3:9])


def test_without_entries_on_one_side_there_is_no_region() -> None:
    nothing = np.array([])
    for above, below in ((np.full(50, 5.0), nothing), (nothing, np.full(50, 5.0))):
        histograms = two("mu", above, below)
        assert np.isnan(metrics.feature_splits(histograms, VALLEY)["mu"].separation)
        assert metrics.large_uncertainty_region(histograms, VALLEY) is None
    assert metrics.large_uncertainty_region({}, VALLEY) is None
