from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.stats import spearmanr

from hepcalib import hists, metrics
from hepcalib.metrics.counts import Counts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

ROWS = 40_000


def table(x: NDArray[np.int64], y: NDArray[np.int64], bins: int) -> Counts:
    values = np.zeros((bins, bins))
    np.add.at(values, (x, y), 1.0)
    return Counts(values, values)


def pairs(rng: np.random.Generator, rows: int, *, correlation: float) -> tuple[Floats, Floats]:
    z = rng.normal(size=(2, rows))
    return z[0], correlation * z[0] + np.sqrt(1.0 - correlation**2) * z[1]


def compare(first: Floats, second: Floats, *, weight: float = 1.0) -> metrics.Agreement:
    filled = hists.uncertainty_pair("BNN", "Repulsive ensemble")
    weights = np.full(first.size, weight)
    hists.fill_uncertainty_pair(filled, kind="total", first=first, second=second, weight=weights)
    return metrics.agreement(filled)["total"]


@pytest.mark.parametrize("seed", range(3))
def test_rank_correlation_of_ties_is_that_of_scipy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 7, 500)
    y = np.clip(x + rng.integers(-2, 3, 500), 0, 6)
    found, _ = metrics.rank_correlation(table(x, y, 7))
    assert found == pytest.approx(spearmanr(x, y).statistic, abs=1e-12)


def test_rank_correlation_of_a_normal_pair_is_the_closed_form() -> None:
    x, y = pairs(np.random.default_rng(101), ROWS, correlation=0.8)
    found = compare(0.2 * 10.0 ** (0.2 * x), 0.2 * 10.0 ** (0.2 * y))
    exact = 6.0 / np.pi * np.arcsin(0.5 * 0.8)
    assert abs(found.rank_correlation - exact) < 4.0 * found.rank_correlation_error
    # Bins of 1/8 of the width: Sheppard's correction of the ranks, 0.125^2 / 12, is 0.0013.
    assert found.rank_correlation == pytest.approx(spearmanr(x, y).statistic, abs=0.0015)


def test_the_errors_are_the_scatter_of_repeated_samples() -> None:
    rng, repeats = np.random.default_rng(102), 200
    found = []
    for _ in range(repeats):
        x, y = pairs(rng, 1000, correlation=0.7)
        found.append(compare(0.2 * np.exp(0.4 * x), 0.25 * np.exp(0.5 * y)))
    for name in ("rank_correlation", "median_ratio"):
        scatter = np.std([getattr(one, name) for one in found])
        claimed = np.mean([getattr(one, f"{name}_error") for one in found])
        # The scatter is known to 1 / sqrt(2 repeats) = 5 %, the density at a median to some more.
        assert claimed == pytest.approx(scatter, rel=0.2)
    uncorrelated = np.mean(
        [np.hypot(0.4, 0.5) * np.sqrt(np.pi / 2.0 / 1000) * one.median_ratio for one in found]
    )
    assert np.std([one.median_ratio for one in found]) < 0.75 * uncorrelated


def test_equal_uncertainties_agree_completely() -> None:
    sigma = 0.2 * np.exp(0.5 * np.random.default_rng(103).normal(size=ROWS))
    found = compare(sigma, sigma)
    assert found.rank_correlation == pytest.approx(1.0, abs=1e-12)
    assert found.rank_correlation_error < 0.01 / np.sqrt(ROWS)  # 0 without ties
    assert found.median_ratio == pytest.approx(1.0, abs=1e-12)
    # The share below both medians is the smallest where they lie inside a bin.
    assert found.median_ratio_error < 0.004
    assert found.entries == ROWS
    assert (found.first, found.second) == ("BNN", "Repulsive ensemble")


def test_another_scale_changes_the_ratio_and_not_the_ranks() -> None:
    sigma = 0.2 * np.exp(0.5 * np.random.default_rng(104).normal(size=ROWS))
    found = compare(1.3 * sigma, sigma)
    assert found.median_ratio == pytest.approx(1.3, abs=0.01)  # a bin is 6 %, linear inside
    assert found.rank_correlation > 0.99
    assert abs(found.median_ratio - 1.0) > 20.0 * found.median_ratio_error


def test_shuffled_uncertainties_do_not_agree() -> None:
    rng = np.random.default_rng(105)
    sigma = 0.2 * np.exp(0.5 * rng.normal(size=ROWS))
    found = compare(sigma, rng.permutation(sigma))
    assert abs(found.rank_correlation) < 4.0 * found.rank_correlation_error
    assert found.rank_correlation_error == pytest.approx(1.0 / np.sqrt(ROWS), rel=0.05)
    assert found.median_ratio == pytest.approx(1.0, abs=1e-12)


def test_results_do_not_depend_on_the_scale_of_the_weights() -> None:
    x, y = pairs(np.random.default_rng(106), 2000, correlation=0.7)
    one, other = (compare(np.exp(x), np.exp(y), weight=weight) for weight in (1.0, 0.125))
    assert one[3:10] == pytest.approx(other[3:10], rel=1e-12)


def test_kinds_without_entries_are_nan() -> None:
    for found in metrics.agreement(hists.uncertainty_pair("BNN", "RE")).values():
        assert np.isnan(found[4:10]).all()
        assert found.entries == 0.0


def test_what_has_only_one_rank_has_no_correlation() -> None:
    found = compare(np.full(50, 0.2), 0.2 * np.exp(np.linspace(-1.0, 1.0, 50)))
    assert np.isnan([found.rank_correlation, found.rank_correlation_error]).all()
    assert np.isfinite(found.median_ratio)
