from __future__ import annotations

import numpy as np
import pytest

from hepcalib.calibration.sample_location import sample_mean, sample_mode, sample_quantiles


def test_integer_weights_are_repetitions() -> None:
    random = np.random.default_rng(1)
    values, times = random.normal(size=400), random.integers(1, 5, 400)
    repeated = np.repeat(values, times)
    assert sample_mean(values, times) == pytest.approx(repeated.mean())
    assert sample_mode(values, times, entries=1000.0) == pytest.approx(
        float(sample_mode(repeated, entries=1000.0)), abs=1e-6
    )


def test_quantiles_of_few_values() -> None:
    assert sample_quantiles([3.0, 1.0, 2.0], [0.5]).tolist() == [2.0]
    assert sample_quantiles([1.0, 2.0], [0.5]).tolist() == [1.5]
    assert sample_quantiles([1.0, 2.0, 9.0], [0.5], weight=[1.0, 1.0, 0.0]).tolist() == [1.5]


def test_several_sets_of_weights_at_a_time() -> None:
    random = np.random.default_rng(2)
    values, weights = random.normal(size=300), random.uniform(size=(3, 300))
    together = sample_quantiles(values, [0.2, 0.5], weight=weights)
    for row, own in enumerate(weights):
        np.testing.assert_allclose(sample_quantiles(values, [0.2, 0.5], weight=own), together[row])
    assert sample_mean(values, weights).shape == sample_mode(values, weights).shape == (3,)


def test_mode_of_a_gamma_distribution() -> None:
    # Of shape 4 the mode is 3, the median 3.67 and the mean 4.
    rows = 200_000
    values = np.random.default_rng(3).gamma(4.0, size=rows)
    bandwidth = 2.0 * rows**-0.2
    assert float(sample_mode(values)) == pytest.approx(3.0, abs=bandwidth)
    assert abs(sample_mean(values) - 3.0) > 5 * bandwidth


def test_no_entries_have_no_location() -> None:
    nothing = np.zeros(3)
    assert np.isnan(sample_mean([1.0, 2.0, 3.0], nothing))
    assert np.isnan(sample_mode([1.0, 2.0, 3.0], nothing))
    assert np.isnan(sample_quantiles([1.0, 2.0, 3.0], [0.5], weight=nothing)).all()


def test_equal_values_are_their_own_mode() -> None:
    assert sample_mode(np.full(10, 2.5)) == 2.5
