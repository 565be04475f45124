from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.integrate import quad

from hepcalib.exceptions import ConfigError, DataError, ShapeError
from hepcalib.samples import response_density
from hepcalib.samples.response_density import ResponseDensity

if TYPE_CHECKING:
    from collections.abc import Callable

# p2, m1, s1, m2, s2, low, high of: one narrow peak, two overlapping ones, two far ones, a
# truncation inside the first and one above both maxima
ROWS = np.array(
    [
        [0.02, -0.10, 0.08, 0.06, 0.15, math.log(0.1), 3.0],
        [0.50, 0.00, 0.30, 0.60, 0.40, math.log(0.1), 2.0],
        [0.40, -0.50, 0.10, 0.70, 0.15, math.log(0.1), 4.0],
        [0.30, 0.20, 0.35, 0.90, 0.50, math.log(0.1), 0.25],
        [0.30, 0.80, 0.35, 1.50, 0.50, math.log(0.1), 0.10],
    ]
)


@pytest.fixture
def mixture() -> ResponseDensity:
    return ResponseDensity(*ROWS.T)


def normal(*, mean: float, sigma: float) -> ResponseDensity:
    """One log-normal without truncation, parameters of log10 R."""
    ln10 = math.log(10.0)
    row = [0.0, mean * ln10, sigma * ln10, 5.0, 1.0, -math.inf, math.inf]
    return ResponseDensity(*(np.array([value]) for value in row))


def density_of_log(row: int, x: float) -> float:
    """Density of ln R with truncation, up to its normalisation."""
    p2, m1, s1, m2, s2, _, _ = ROWS[row]
    return float(
        (1 - p2) * math.exp(-0.5 * ((x - m1) / s1) ** 2) / s1
        + p2 * math.exp(-0.5 * ((x - m2) / s2) ** 2) / s2
    )


def expectation(row: int, function: Callable[[float], float], *, to: float = math.inf) -> float:
    """Mean over the truncated density, by numerical integration over ln R."""
    low, high = ROWS[row, 5:]
    centres = [p for p in (ROWS[row, 1], ROWS[row, 3]) if low < p < min(high, to)]

    def integral(integrand: Callable[[float], float], end: float) -> float:
        return float(quad(integrand, low, end, points=centres, limit=400, epsabs=1e-13)[0])

    total = integral(lambda x: density_of_log(row, x), high)
    return integral(lambda x: function(x) * density_of_log(row, x), min(high, to)) / total


def test_single_log_normal_has_the_closed_form_mean_mode_and_widths() -> None:
    single = normal(mean=0.0, sigma=0.1)
    s = 0.1 * math.log(10.0)
    mean, sd = response_density.mean(single)[0], response_density.standard_deviation(single)[0]
    assert mean == pytest.approx(math.exp(s**2 / 2), rel=1e-12)
    assert mean == pytest.approx(1.02686, abs=5e-6)
    assert sd / mean == pytest.approx(0.23334, abs=5e-6)
    assert response_density.mode(single)[0] == pytest.approx(0.94836, abs=5e-6)
    assert response_density.log_mode(single)[0] == pytest.approx(1.0, abs=1e-9)
    assert response_density.median(single)[0] == pytest.approx(1.0, abs=1e-9)
    assert response_density.sigma_log10(single)[0] == pytest.approx(0.1, rel=1e-12)
    low, high = (response_density.quantile(single, p)[0] for p in (0.15865525, 0.84134475))
    assert (high - low) / 2 == pytest.approx(math.sinh(s), abs=1e-7)


@pytest.mark.parametrize("row", range(len(ROWS)))
@pytest.mark.parametrize("order", [1, 2, 3])
def test_moments_agree_with_numerical_integration(
    mixture: ResponseDensity, row: int, order: int
) -> None:
    found = response_density.moment(mixture, order)[row]
    assert found == pytest.approx(expectation(row, lambda x: math.exp(order * x)), rel=1e-8)


@pytest.mark.parametrize("row", range(len(ROWS)))
def test_cdf_agrees_with_numerical_integration(mixture: ResponseDensity, row: int) -> None:
    for x in (-0.6, -0.1, 0.05):
        found = response_density.cdf(mixture, np.full(len(ROWS), math.exp(x)))[row]
        assert found == pytest.approx(expectation(row, lambda _: 1.0, to=x), abs=1e-9)


@pytest.mark.parametrize("p", [1e-6, 0.16, 0.5, 0.84, 0.999])
def test_quantile_inverts_the_cdf(mixture: ResponseDensity, p: float) -> None:
    found = response_density.cdf(mixture, response_density.quantile(mixture, p))
    np.testing.assert_allclose(found, p, rtol=1e-6)


def test_cdf_is_zero_below_and_one_above_the_truncation(mixture: ResponseDensity) -> None:
    below, above = np.full(len(ROWS), 0.05), np.full(len(ROWS), 1e3)
    assert response_density.cdf(mixture, below).tolist() == [0.0] * len(ROWS)
    assert response_density.cdf(mixture, above).tolist() == [1.0] * len(ROWS)
    assert np.isposinf(response_density.nll(mixture, above)).all()


@pytest.mark.parametrize("power", [0, 1], ids=["log_mode", "mode"])
def test_modes_are_the_highest_points_of_a_grid(mixture: ResponseDensity, power: int) -> None:
    found = (response_density.mode if power else response_density.log_mode)(mixture)
    for row, (low, high) in enumerate(ROWS[:, 5:]):
        grid = np.linspace(low, high, 20_001)
        heights = [density_of_log(row, x) * math.exp(-power * x) for x in grid]
        best = grid[int(np.argmax(heights))]
        assert math.log(found[row]) == pytest.approx(best, abs=grid[1] - grid[0])


def test_mode_of_a_truncated_rising_density_is_its_end(mixture: ResponseDensity) -> None:
    assert response_density.log_mode(mixture)[4] == pytest.approx(math.exp(0.10), rel=1e-12)


@pytest.mark.parametrize("row", range(len(ROWS)))
def test_likelihood_of_log10_response_is_normalised(mixture: ResponseDensity, row: int) -> None:
    one = mixture.select(np.array([row]))
    low, high = ROWS[row, 5:] / math.log(10.0)

    def likelihood(x: float) -> float:
        return math.exp(-response_density.nll(one, np.array([10**x]))[0])

    points = [p / math.log(10.0) for p in ROWS[row, [1, 3]] if low < p / math.log(10.0) < high]
    assert quad(likelihood, low, high, points=points, limit=200)[0] == pytest.approx(1, abs=1e-7)


def test_sigma_log10_is_the_width_without_truncation(mixture: ResponseDensity) -> None:
    p, m1, s1, m2, s2 = ROWS[:, :5].T
    variance = (1 - p) * (s1**2 + m1**2) + p * (s2**2 + m2**2) - ((1 - p) * m1 + p * m2) ** 2
    expected = np.sqrt(variance) / math.log(10.0)
    np.testing.assert_allclose(response_density.sigma_log10(mixture), expected, rtol=1e-12)


@pytest.mark.parametrize("g", [-0.5, 0.5, 2.0])
def test_shifted_density_is_the_weighted_one(mixture: ResponseDensity, g: float) -> None:
    shifted = response_density.mean(response_density.shifted(mixture, g))
    for row in range(len(ROWS)):
        weighted = expectation(row, lambda x: math.exp((1 + g) * x))
        expected = weighted / expectation(row, lambda x: math.exp(g * x))
        assert shifted[row] == pytest.approx(expected, rel=1e-8)
    assert (shifted > response_density.mean(mixture)).all() == (g > 0)


def test_probability_is_the_integral_between_the_ends(mixture: ResponseDensity) -> None:
    for row, (low, high) in enumerate(ROWS[:, 5:]):
        points = [p for p in ROWS[row, [1, 3]] if low < p < high]
        inside = quad(lambda x, row=row: density_of_log(row, x), low, high, points=points)[0]
        found = response_density.probability(mixture)[row]
        assert found == pytest.approx(inside / math.sqrt(2 * math.pi), abs=1e-9)


def test_no_clusters_give_no_values(mixture: ResponseDensity) -> None:
    empty = mixture.select(slice(0))
    assert response_density.median(empty).shape == (0,)
    assert response_density.log_mode(empty).shape == (0,)
    assert response_density.nll(empty, np.empty(0)).shape == (0,)


@pytest.mark.parametrize("p", [0.0, 1.0, -0.5, math.nan])
def test_quantile_refuses_what_is_no_probability(mixture: ResponseDensity, p: float) -> None:
    with pytest.raises(ConfigError, match=rf"p = {p}"):
        response_density.quantile(mixture, p)


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_impossible_response_is_refused_with_its_row(
    mixture: ResponseDensity, value: float
) -> None:
    response = np.ones(len(ROWS))
    response[3] = value
    with pytest.raises(DataError, match=rf"response {value} at row 3 \(1 such"):
        response_density.cdf(mixture, response)


def test_other_number_of_responses_is_refused(mixture: ResponseDensity) -> None:
    with pytest.raises(ShapeError, match=r"\(2,\) responses for \(5,\) densities"):
        response_density.nll(mixture, np.ones(2))
