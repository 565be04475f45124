from __future__ import annotations

import numpy as np
import pytest

from hepcalib.exceptions import ConfigError
from hepcalib.samples import gaussian
from hepcalib.samples.gaussian import AuxiliaryProblem, GaussianProblem

ROWS = 200_000


def test_closed_forms_of_the_normal_problem() -> None:
    problem = GaussianProblem(mean=0.0, width=1.0, noise=2.0)
    assert problem.slope == pytest.approx(0.2, abs=1e-12)
    assert problem.regression_bias(2.0) == pytest.approx(-1.6, abs=1e-12)
    assert problem.regression_bias(1.0) == pytest.approx(-0.8, abs=1e-12)
    assert problem.posterior_width == pytest.approx(0.8944, abs=5e-5)
    assert problem.information == pytest.approx(0.11157, abs=5e-6)


def regression(problem: GaussianProblem, seed: int) -> tuple[float, float]:
    """Slope and mean residual of the straight line of least squares, z against y."""
    found = gaussian.simulate_gaussian(problem, ROWS, seed=seed)
    slope, offset = np.polyfit(found.measured, found.true, 1)
    return float(slope), float(offset)


def test_regression_finds_the_posterior_mean() -> None:
    problem = GaussianProblem(mean=1.5, width=1.0, noise=2.0)
    slope, offset = regression(problem, 1)
    # The error of the slope is the posterior width over the spread of y and sqrt(rows).
    error = problem.posterior_width / np.hypot(1.0, 2.0) / ROWS**0.5
    assert abs(slope - problem.slope) < 4 * error
    assert abs(offset - problem.posterior_mean(0.0)) < 4 * problem.posterior_width / ROWS**0.5
    assert abs(slope - 1.0) > 100 * error  # the slope of the maximum likelihood


def test_regression_moves_with_the_test_spectrum_and_the_likelihood_does_not() -> None:
    problem = GaussianProblem()
    found = gaussian.simulate_gaussian(problem._replace(mean=2.0), ROWS, seed=2)
    error = np.hypot(problem.width, problem.noise) / ROWS**0.5
    residual = (problem.posterior_mean(found.measured) - found.true).mean()
    assert abs(residual - problem.regression_bias(2.0)) < 4 * error
    assert abs((found.measured - found.true).mean()) < 4 * problem.noise / ROWS**0.5
    assert abs(residual) > 100 * error


def test_equal_seeds_share_their_noise() -> None:
    first, second = (
        gaussian.simulate_gaussian(GaussianProblem(mean=mean), 100, seed=3) for mean in (0.0, 5.0)
    )
    noises = [found.measured - found.true for found in (first, second)]
    np.testing.assert_allclose(noises[0], noises[1], atol=1e-12)
    other = gaussian.simulate_gaussian(GaussianProblem(), 100, seed=4)
    assert abs(np.corrcoef(first.measured, other.measured)[0, 1]) < 0.5


def test_a_falling_spectrum_biases_reco_bins_only() -> None:
    assert gaussian.exponential_bias(50.0, 10.0) == pytest.approx(-2.0)
    found = gaussian.simulate_exponential(50.0, 10.0, 3 * ROWS, seed=5)
    for variable, expected in ((found.measured, -2.0), (found.true, 0.0)):
        rows = (variable > 60.0) & (variable < 150.0)
        bias = (found.true - found.measured)[rows].mean()
        assert abs(bias - expected) < 4 * 10.0 / rows.sum() ** 0.5
        assert abs(bias - (-2.0 - expected)) > 20 * 10.0 / rows.sum() ** 0.5


def test_flat_prior() -> None:
    found = gaussian.flat_posterior_mean([0.5, 5.0], low=0.0, high=10.0, noise=1.0)
    np.testing.assert_allclose(found, [1.00916, 5.0], atol=5e-6)
    z = np.linspace(0.0, 10.0, 100_001)
    for y, expected in zip((0.5, 5.0), found, strict=True):
        density = np.exp(-0.5 * (y - z) ** 2)
        assert (z @ density) / density.sum() == pytest.approx(expected, abs=1e-4)


def test_which_location_closes() -> None:
    for k, expected in ((0.1, 0.9902), (0.2, 0.9629), (0.3, 0.9233)):
        found = gaussian.proportional_closure(k)
        assert found == pytest.approx(expected, abs=5e-5)
        z = np.linspace(0.3, 3.0, 270_001)
        likelihood = -np.log(z) - 0.5 * ((1.0 - z) / (k * z)) ** 2
        assert z[likelihood.argmax()] == pytest.approx(found, abs=2e-5)
    closures = gaussian.lognormal_closures(0.3)
    assert closures["likelihood_mean"] == pytest.approx(1.0460, abs=5e-5)
    assert closures["mean_calibrated_median"] == pytest.approx(0.9560, abs=5e-5)
    assert closures["mean_calibrated_mode"] == pytest.approx(0.8737, abs=5e-5)


def test_widths_with_an_auxiliary_observable() -> None:
    problem = AuxiliaryProblem()
    assert problem.generalised_width == pytest.approx(5.714, abs=5e-4)
    assert problem.inversion_width == pytest.approx(8.601, abs=5e-4)
    drifting = AuxiliaryProblem(drift=0.02)
    assert drifting.generalised_width**2 == pytest.approx(32.65, abs=5e-3)
    assert drifting.likelihood_width**2 == pytest.approx(32.46, abs=5e-3)
    assert drifting.inversion_width**2 == pytest.approx(62.76, abs=5e-3)


@pytest.mark.parametrize("drift", [0.0, 0.02])
def test_widths_are_those_of_samples(drift: float) -> None:
    problem = AuxiliaryProblem(drift=drift)
    found = gaussian.simulate_auxiliary(problem, np.full(ROWS, 50.0), seed=6)
    a, b, c = problem.response, problem.coupling, problem.drift
    known = (found.measured - b * found.auxiliary) / a
    alone = found.measured / (a + b * c)
    precision = 5 / (2 * ROWS) ** 0.5
    assert known.std() == pytest.approx(problem.generalised_width, rel=precision)
    assert alone.std() == pytest.approx(problem.inversion_width, rel=precision)
    assert known.std() != pytest.approx(problem.inversion_width, rel=20 * precision)


def test_the_curved_response_has_its_slope() -> None:
    x = np.array([-20.0, 0.0, 25.0, 80.0])
    assert gaussian.softplus_response(0.0) == 0.0
    difference = gaussian.softplus_response(x + 1e-4) - gaussian.softplus_response(x - 1e-4)
    np.testing.assert_allclose(difference / 2e-4, gaussian.softplus_slope(x), rtol=1e-7)
    assert gaussian.softplus_slope(25.0) == pytest.approx(0.775)


def test_negative_numbers_are_refused() -> None:
    with pytest.raises(ConfigError, match="rows is -1, seed 0; needed: at least 0"):
        gaussian.simulate_gaussian(GaussianProblem(), -1, seed=0)
