from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from hepcalib.calibration.fitted_mode import fitted_mode
from hepcalib.calibration.sample_location import sample_mode

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Draw = Callable[[np.random.Generator, int], Floats]

ROWS = 20_000
SAMPLES = 16


def log_normal(random: np.random.Generator, rows: int) -> Floats:
    return np.exp(random.normal(0.0, 0.3, rows))


def normal(random: np.random.Generator, rows: int) -> Floats:
    return random.normal(size=rows)


def gamma(random: np.random.Generator, rows: int) -> Floats:
    return random.gamma(4.0, size=rows)


def two_peaks(random: np.random.Generator, rows: int) -> Floats:
    """Return values of 0.6 N(0, 1) + 0.4 N(4, 1)."""
    return np.asarray(random.normal(4.0 * (random.random(rows) < 0.4), 1.0))


def with_outliers(random: np.random.Generator, rows: int) -> Floats:
    return np.asarray(random.standard_cauchy(rows))


def errors(draw: Draw, mode: float, *, rows: int = ROWS) -> Floats:
    """Return the errors of the modes of samples of their own."""
    return np.array(
        [
            fitted_mode(draw(np.random.default_rng([31, seed]), rows)) - mode
            for seed in range(SAMPLES)
        ]
    )


def maximum(density: Callable[[Floats], Floats]) -> float:
    at = np.linspace(-1.0, 5.0, 600_001)
    return float(at[density(at).argmax()])


@pytest.mark.parametrize(
    ("draw", "mode"),
    [
        (log_normal, np.exp(-0.09)),
        (gamma, 3.0),
        (two_peaks, maximum(lambda x: 3 * np.exp(-(x**2) / 2) + 2 * np.exp(-((x - 4) ** 2) / 2))),
    ],
)
def test_skewed_densities_and_two_peaks(draw: Draw, mode: float) -> None:
    """The bends that are not followed cost no more than what they cannot be told from.

    That is 1.5 times the error of the mode; the median is many times as far away.
    """
    found = errors(draw, mode)
    spread = found.std(ddof=1)
    assert abs(found.mean()) < (1.5 + 4 / SAMPLES**0.5) * spread
    median = np.median(draw(np.random.default_rng(32), ROWS)) - mode
    assert abs(median) > 2 * (1.5 + 4 / SAMPLES**0.5) * spread


@pytest.mark.parametrize("draw", [normal, with_outliers])
def test_symmetric_densities(draw: Draw) -> None:
    found = errors(draw, 0.0)
    assert abs(found.mean()) < 4 * found.std(ddof=1) / SAMPLES**0.5
    assert found.std(ddof=1) < 0.1


def test_error_is_below_that_of_a_kernel_density() -> None:
    """For a normal sample: 1.4 widths over the root of the rows, from the quadratic fit.

    Of what lies within sqrt(2 ln(1 / 0.3)) = 1.55 widths the share is 0.879 and the variance 0.578.
    """
    random = np.random.default_rng(4)
    samples = random.normal(size=(SAMPLES, ROWS))
    fitted = np.array([fitted_mode(own) for own in samples])
    kernel = np.array([float(sample_mode(own)) for own in samples])
    expected = (0.879 * 0.578 * ROWS) ** -0.5
    tolerance = 4 / (2 * SAMPLES) ** 0.5  # of a root mean square, relative
    assert np.sqrt((fitted**2).mean()) < (1 + tolerance) * expected
    assert np.sqrt((kernel**2).mean()) > (1 + tolerance) * expected


def test_weights_are_repetitions() -> None:
    random = np.random.default_rng(5)
    values, times = random.gamma(4.0, size=5000), random.integers(1, 4, 5000)
    # Weights of one size count as entries; of several sizes they count as fewer, and the degree is
    # the same here.
    assert fitted_mode(values, np.full(5000, 0.3)) == pytest.approx(fitted_mode(values), abs=1e-9)
    repeated = fitted_mode(np.repeat(values, times))
    assert fitted_mode(values, times) == pytest.approx(repeated, abs=0.05)
    assert abs(fitted_mode(values) - repeated) > 1e-4


def test_few_rows_have_the_mode_of_the_kernel_density() -> None:
    values = np.random.default_rng(6).normal(3.0, 1.0, 12)
    assert fitted_mode(values) == pytest.approx(float(sample_mode(values)), abs=0.3)


def test_values_without_a_density() -> None:
    assert fitted_mode(np.full(50, 2.5)) == 2.5
    assert np.isnan(fitted_mode([1.0, 2.0], [0.0, 0.0]))
    assert fitted_mode([1.0, 2.0, 3.0], [0.0, 1.0, 0.0]) == 2.0
    two_values = np.repeat([1.0, 2.0], [30, 70])
    assert 1.0 <= fitted_mode(two_values) <= 2.0
