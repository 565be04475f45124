from __future__ import annotations

import numpy as np
import pytest

from hepcalib.exceptions import ConfigError, DataError
from hepcalib.metrics.reweighting import SPECTRA, spectrum_factors, spectrum_weights

ROWS = 200_000


def falling(seed: int = 1) -> np.ndarray:
    """Between 1 and 100 with a density proportional to 1 / E^2."""
    return np.asarray(1.0 / (1.0 - np.random.default_rng(seed).uniform(0.0, 0.99, ROWS)))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nominal", np.log(100.0) / 0.99),
        ("uniform", 50.5),
        ("log_uniform", 99.0 / np.log(100.0)),
        ("softer", (0.9 / 0.5) / (0.999 / 1.5)),
        ("harder", (9.0 / 0.5) / (0.9 / 0.5)),
    ],
)
def test_mean_truth_of_each_spectrum(name: str, expected: float) -> None:
    true = falling()
    weight = spectrum_weights(name, true)
    error = np.sqrt((weight**2 * (true - expected) ** 2).sum()) / weight.sum()
    mean = np.average(true, weights=weight)
    assert abs(mean - expected) < 4 * error + 0.005 * expected  # bins are 8 % wide
    assert weight.sum() == pytest.approx(ROWS)
    if name != "nominal":
        assert abs(true.mean() - expected) > 10 * error


def test_exponential_spectrum() -> None:
    true = falling()
    weight = spectrum_weights("exponential", true)
    counts, edges = np.histogram(true, bins=[1.0, 25.0, 50.0, 75.0, 99.0], weights=weight)
    expected = np.exp(-edges[:-1] / 50.0) - np.exp(-edges[1:] / 50.0)
    assert counts / counts[0] == pytest.approx(expected / expected[0], rel=0.1)


def test_weights_of_the_sample_stay_in() -> None:
    true = falling()[:1000]
    given = np.where(true < 10.0, 2.0, 1.0)
    assert spectrum_weights("nominal", true, weight=given) == pytest.approx(given)


@pytest.mark.parametrize("name", SPECTRA)
def test_empty_bins_have_no_factor(name: str) -> None:
    factors = spectrum_factors(name, [1.0, 2.0, 4.0, 8.0], [3.0, 0.0, 5.0])
    assert factors[1] == 0.0
    assert factors @ [3.0, 0.0, 5.0] == pytest.approx(8.0)
    assert spectrum_factors(name, [1.0, 2.0], [0.0]).tolist() == [0.0]


def test_impossible_input_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"unknown spectrum 'flat'\. Known: exponential"):
        spectrum_factors("flat", [1.0, 2.0], [1.0])
    with pytest.raises(DataError, match=r"truth -1\.0 in row 1; needed: positive and finite"):
        spectrum_weights("uniform", [1.0, -1.0])
    assert spectrum_weights("uniform", []).size == 0
