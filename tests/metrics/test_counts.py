from __future__ import annotations

from typing import Any

import hist
import numpy as np
import pytest

from hepcalib.metrics.counts import Counts, Floats, centres, counts, divide, quantiles


def binned(values: Floats, edges: Floats, weight: Floats | None = None) -> Counts:
    weight = np.ones(len(values)) if weight is None else weight
    at = np.concatenate([[-np.inf], edges, [np.inf]])
    return Counts(
        np.histogram(values, at, weights=weight)[0], np.histogram(values, at, weights=weight**2)[0]
    )


def test_quantiles_agree_with_numpy_within_a_bin() -> None:
    values = np.random.default_rng(1).normal(3.0, 2.0, 20_000)
    edges = np.linspace(-10.0, 15.0, 2501)
    p = np.array([0.05, 0.16, 0.5, 0.84, 0.95])
    found = quantiles(binned(values, edges), edges, p)
    assert np.abs(found.values - np.quantile(values, p)).max() < edges[1] - edges[0]


def test_weights_act_as_repetitions() -> None:
    rng = np.random.default_rng(2)
    values, repeats = rng.normal(0.0, 1.0, 3000), rng.integers(1, 5, 3000)
    edges = np.linspace(-6.0, 6.0, 601)
    p = (0.2, 0.5, 0.9)
    weighted = quantiles(binned(values, edges, repeats.astype(float)), edges, p)
    repeated = quantiles(binned(np.repeat(values, repeats), edges), edges, p)
    # 600 sums of up to 15,000 repetitions, rounded to 1e-16 of themselves, over the density.
    assert np.allclose(weighted.values, repeated.values, rtol=0, atol=1e-12)
    assert weighted.entries == pytest.approx(repeats.sum() ** 2 / (repeats**2).sum())
    assert np.all(weighted.errors > repeated.errors)


def test_errors_are_the_spread_of_the_quantiles() -> None:
    rng = np.random.default_rng(3)
    edges = np.linspace(-6.0, 6.0, 1201)
    p = np.array([0.16, 0.5])
    trials, n = 400, 2000
    found = [quantiles(binned(rng.normal(size=n), edges), edges, p) for _ in range(trials)]
    spread = np.std([one.values for one in found], axis=0)
    predicted = np.mean([one.errors for one in found], axis=0)
    # Spread known to 1/sqrt(2 trials) = 3.5 %, allowed 4 times that.
    assert np.allclose(predicted / spread, 1.0, atol=4.0 / np.sqrt(2 * trials))
    exact = np.sqrt(0.25 / n) * np.sqrt(2.0 * np.pi)
    assert spread[1] == pytest.approx(exact, rel=4.0 / np.sqrt(2 * trials))
    correlation = np.corrcoef(np.array([one.values for one in found]).T)[0, 1]
    # cov = p_a (1 - p_b) in the probabilities; Fisher's error of a correlation.
    expected = 0.16 * 0.5 / np.sqrt(0.16 * 0.84 * 0.25)
    assert np.arctanh(correlation) == pytest.approx(np.arctanh(expected), abs=4 / trials**0.5)
    assert found[0].covariance[0, 1] == found[0].covariance[1, 0]


def test_a_plateau_gives_its_middle() -> None:
    edges = np.linspace(0.0, 10.0, 11)
    part = Counts(np.array([0.0, 8, *np.zeros(8), 8, 0]), np.array([0.0, 8, *np.zeros(8), 8, 0]))
    assert quantiles(part, edges, (0.5,)).values[0] == pytest.approx(5.0)


def test_quantiles_in_the_flow_are_nan() -> None:
    edges = np.array([0.0, 1.0, 2.0])
    part = Counts(np.array([60.0, 20.0, 20.0, 0.0]), np.array([60.0, 20.0, 20.0, 0.0]))
    found = quantiles(part, edges, (0.3, 0.9))
    assert np.isnan(found.values).tolist() == [True, False]
    assert found.values[1] == pytest.approx(1.5)


@pytest.mark.parametrize(
    "part",
    [
        Counts(np.zeros(4), np.zeros(4)),
        Counts(np.array([0.0, 3.0, 3.0, 0.0]), np.array([0.0, 3.0, 3.0, 0.0])),
        Counts(np.array([0.0, 5.0, -50.0, 0.0]), np.array([0.0, 5.0, 50.0, 0.0])),
    ],
    ids=["empty", "too few", "negative sum"],
)
def test_samples_without_enough_entries_give_nan(part: Counts) -> None:
    found = quantiles(part, np.array([0.0, 1.0, 2.0]), (0.5,))
    assert np.isnan(found.values).all()
    assert np.isnan(found.errors).all()


def test_some_negative_weights_move_the_median_by_less_than_its_error() -> None:
    rng = np.random.default_rng(4)
    values, weight = rng.normal(size=20_000), np.where(rng.random(20_000) < 0.1, -1.0, 1.0)
    edges = np.linspace(-6.0, 6.0, 601)
    found = quantiles(binned(values, edges, weight), edges, (0.5,))
    # The sum of the weights has a variance of 4 p (1 - p) each, and is squared.
    tolerance = 4 * 2 * 20_000 * 0.8 * np.sqrt(4 * 0.1 * 0.9 / 20_000)
    assert found.entries == pytest.approx(20_000 * 0.8**2, abs=tolerance)
    assert abs(found.values[0]) < 4.0 * found.errors[0]


def test_counts_of_unweighted_histograms_have_their_own_variance() -> None:
    plain: hist.Hist[Any] = hist.Hist(hist.axis.Regular(2, 0.0, 2.0))
    plain.fill([0.5, 0.5, 1.5])
    found = counts(plain)
    assert found.variances.tolist() == [0.0, 2.0, 1.0, 0.0]
    assert found.entries == 3.0


def test_centres_are_geometric_on_logarithmic_axes() -> None:
    assert centres(hist.axis.Variable([1.0, 4.0], metadata="log")).tolist() == [2.0]
    assert centres(hist.axis.Variable([1.0, 4.0], metadata="linear")).tolist() == [2.5]


def test_divide_gives_nan_where_nothing_follows() -> None:
    quotient = divide([1.0, 1.0, np.nan, 1.0], [2.0, 0.0, 1.0, -1.0])
    assert quotient[0] == 0.5
    assert np.isnan(quotient[1:]).all()
