from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from hepcalib import metrics
from hepcalib.exceptions import ShapeError
from hepcalib.metrics import Counts

if TYPE_CHECKING:
    from hepcalib.metrics.counts import Floats

X, Y = np.linspace(-5.0, 5.0, 101), np.linspace(-5.0, 5.0, 51)
EXACT = {0.1: 0.00794, 0.3: 0.07236, 0.5: 0.20623, 0.8: 0.56987, 0.95: 0.86511}


def middle(edges: Floats) -> Floats:
    return np.asarray(0.5 * (edges[1:] + edges[:-1]))


def correlated(rng: np.random.Generator, r: float, rows: int) -> metrics.DistanceCorrelation:
    x, noise = rng.normal(size=(2, rows))
    values = np.histogram2d(x, r * x + np.sqrt(1.0 - r**2) * noise, (X, Y))[0]
    return metrics.binned_distance_correlation(Counts(values, values), middle(X), middle(Y))


@pytest.mark.parametrize("r", list(EXACT))
def test_bivariate_normal(r: float) -> None:
    found = correlated(np.random.default_rng(91), r, 200_000)
    # Bins 0.1 and 0.2 wide lower the squared correlation by (0.01 + 0.04) / 12 = 0.4 %.
    assert found.squared == pytest.approx(
        EXACT[r], abs=4.0 * found.squared_error + 0.006 * EXACT[r]
    )
    assert found.squared_error < 0.005


def test_mean_and_spread_of_independent_variables() -> None:
    rng = np.random.default_rng(92)
    trials, rows = 400, 1500
    found = [correlated(rng, 0.0, rows) for _ in range(trials)]
    values = np.array([one.squared for one in found])
    noise = np.sqrt(2.0) / rows
    assert values.mean() == pytest.approx(0.0, abs=4.0 * noise / np.sqrt(trials))
    # The distribution is a sum of chi-squareds led by one: kurtosis about 10, and so 8 %.
    assert values.std() == pytest.approx(noise, rel=4.0 * np.sqrt(9.0 / 4.0 / trials))
    assert np.mean([one.noise for one in found]) == pytest.approx(noise, rel=1e-4)  # beyond 5 sigma
    # The V-statistic of a normal pair is 3.17 / N too high.
    assert np.mean([one.biased for one in found]) == pytest.approx(3.17 / rows, rel=0.05)
    assert np.mean([one.squared_error for one in found]) < 2.5 * noise


def test_error_is_the_spread_over_samples() -> None:
    rng = np.random.default_rng(93)
    trials = 100
    found = [correlated(rng, 0.5, 5000) for _ in range(trials)]
    spread = float(np.std([one.squared for one in found]))
    assert np.mean([one.squared_error for one in found]) == pytest.approx(
        spread, rel=4.0 / np.sqrt(2 * trials)
    )


def test_equals_the_unbiased_sums_over_pairs() -> None:
    rng = np.random.default_rng(94)
    n = 25
    x, y = rng.integers(0, 5, n), rng.integers(0, 4, n)
    values = np.zeros((5, 4))
    np.add.at(values, (x, y), 1.0)
    at = np.array([0.0, 0.5, 2.0, 2.5, 4.0]), np.array([1.0, 2.0, 5.0, 5.5])
    found = metrics.binned_distance_correlation(Counts(values, values), *at)

    def centred(value: Floats) -> Floats:
        distance = np.abs(np.subtract.outer(value, value))
        row, total = distance.sum(0) / (n - 2), distance.sum() / ((n - 1) * (n - 2))
        result = distance - row[:, None] - row[None, :] + total
        np.fill_diagonal(result, 0.0)
        return np.asarray(result)

    a, b = centred(at[0][x]), centred(at[1][y])
    exact = (a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum())
    assert found.squared == pytest.approx(exact, rel=1e-10)


def test_distance_covariance_is_the_integral_over_distribution_functions() -> None:
    rng = np.random.default_rng(95)
    values = rng.integers(0, 9, (6, 4)).astype(float)
    x, y = np.sort(rng.uniform(size=6)), np.sort(rng.uniform(size=4))

    def covariance(p: Floats, s: Floats, t: Floats) -> float:
        below = np.cumsum(np.cumsum(p, 0), 1)
        apart = below - np.multiply.outer(below[:, -1], below[-1])
        return float(4.0 * (apart[:-1, :-1] ** 2 * np.multiply.outer(np.diff(s), np.diff(t))).sum())

    p = values / values.sum()
    own = covariance(np.diag(p.sum(1)), x, x) * covariance(np.diag(p.sum(0)), y, y)
    found = metrics.binned_distance_correlation(Counts(values, values), x, y)
    assert found.biased == pytest.approx(covariance(p, x, y) / np.sqrt(own), rel=1e-10)


def test_uniform_parabola_and_binary_pair() -> None:
    # y = |x| on a grid: dCor^2 is 1/4 for the continuous one, up to one over the bins.
    grid = (np.arange(400) + 0.5) / 200.0 - 1.0
    values = np.zeros((400, 200))
    values[np.arange(400), np.floor(np.abs(grid) * 200.0).astype(int)] = 1e6
    found = metrics.binned_distance_correlation(
        Counts(values, values), grid, (np.arange(200) + 0.5) / 200.0
    )
    assert found.squared == pytest.approx(0.25, rel=1e-3)
    pair = np.array([[30.0, 10.0], [20.0, 40.0]]) * 1e6
    phi = np.linalg.det(pair) / np.sqrt(np.prod([*pair.sum(0), *pair.sum(1)]))
    found = metrics.binned_distance_correlation(Counts(pair, pair), [0.0, 1.0], [0.0, 1.0])
    assert found.squared == pytest.approx(phi**2, rel=1e-6)


def test_without_a_spread_there_is_nothing() -> None:
    for values in (np.zeros((3, 2)), np.array([[0.0, 0.0], [5.0, 9.0]]), np.array([[2.0, 1.0]])):
        at = np.arange(float(len(values))), np.arange(float(values.shape[1]))
        found = metrics.binned_distance_correlation(Counts(values, values), *at)
        assert np.isnan([found.squared, found.squared_error, found.biased]).all()


def test_centres_must_fit() -> None:
    values = np.ones((2, 2))
    with pytest.raises(ShapeError, match=r"counts of shape \(2, 2\), \(3, 2\) bin centres"):
        metrics.binned_distance_correlation(Counts(values, values), [0, 1, 2], [0, 1])
