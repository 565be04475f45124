from __future__ import annotations

import json
from typing import TYPE_CHECKING, Literal

import numpy as np
import pytest

from hepcalib.calibration.numerical_inversion import NumericalInversion
from hepcalib.calibration.sample_location import sample_mode
from hepcalib.exceptions import ConfigError, DataError, ShapeError
from hepcalib.samples import gaussian
from hepcalib.samples.gaussian import GaussianProblem, softplus_response, softplus_slope

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

ROWS = 200_000
STATISTICS: tuple[Literal["mean", "median", "mode"], ...] = ("mean", "median", "mode")


@pytest.fixture(scope="module")
def curved() -> NumericalInversion:
    return NumericalInversion.of(softplus_response, low=-60.0, high=120.0)


def normal(rows: int = ROWS, seed: int = 1) -> Floats:
    return np.random.default_rng(seed).normal(size=rows)


def test_it_is_the_inverse_and_its_slope(curved: NumericalInversion) -> None:
    x = np.linspace(-50.0, 110.0, 777)
    y = softplus_response(x)
    np.testing.assert_allclose(curved.apply(y), x, atol=1e-4)
    np.testing.assert_allclose(curved.width(y, 3.0), 3.0 / softplus_slope(x), rtol=1e-4)
    np.testing.assert_allclose(curved.factor(y[500:]), (x / y)[500:], rtol=1e-5)


def test_mean_inversion_of_a_cube_root() -> None:
    inversion = NumericalInversion.of(np.cbrt, low=1.0, high=5000.0, statistic="mean")
    closure = inversion.apply(10.0 + 0.5 * normal()) / 1000.0
    error = closure.std() / ROWS**0.5
    assert abs(closure.mean() - 1.0075) < 4 * error
    assert abs(closure.mean() - 1.0) > 10 * error


@pytest.mark.parametrize(("sigma", "mean", "mode"), [(3.0, 0.9948, 1.0104), (7.0, 0.9733, 1.0558)])
def test_which_location_closes(
    curved: NumericalInversion, sigma: float, mean: float, mode: float
) -> None:
    measured = softplus_response(20.0) + sigma * normal()
    closure = curved.apply(measured) / 20.0
    error = closure.std() / ROWS**0.5
    assert abs(closure.mean() - mean) < 4 * error + 5e-5
    assert abs(closure.mean() - 1.0) > 4 * error
    assert abs(np.median(closure) - 1.0) < 4 * np.sqrt(np.pi / 2) * error
    z = np.linspace(10.0, 30.0, 200_001)
    log_density = (
        np.log(softplus_slope(z))
        - 0.5 * ((softplus_response(z) - softplus_response(20.0)) / sigma) ** 2
    )
    assert z[log_density.argmax()] / 20.0 == pytest.approx(mode, abs=5e-3)
    # With Scott's bandwidth h the mode of a normal sample has a standard deviation of 0.6 h.
    kernel = closure.std() * ROWS**-0.2
    assert float(sample_mode(closure)) == pytest.approx(mode, abs=4 * 0.6 * kernel)


def test_width_is_sigma_over_the_slope(curved: NumericalInversion) -> None:
    at = softplus_response(20.0)
    assert float(curved.width(at, 3.0)) / 20.0 == pytest.approx(0.2058, abs=5e-5)
    spread = (curved.apply(at + 3.0 * normal()) / 20.0).std()
    assert spread == pytest.approx(0.2063, abs=4 * 0.2063 / (2 * ROWS) ** 0.5)
    assert 3.0 / float(at) == pytest.approx(0.2290, abs=5e-5)  # sigma over the response is wrong
    assert abs(spread - 0.2290) > 20 * 0.2063 / (2 * ROWS) ** 0.5


def test_half_width_is_that_of_the_quantiles(curved: NumericalInversion) -> None:
    at, sigma = softplus_response(20.0), 7.0
    low, high = np.quantile(curved.apply(at + sigma * normal()), [0.158655, 0.841345])
    exact = float(curved.half_width(at - sigma, at + sigma))
    error = 2 * exact / ROWS**0.5
    assert abs(0.5 * (high - low) - exact) < 4 * error
    assert abs(sigma * 20.0 / at - exact) > 20 * error


@pytest.mark.parametrize("statistic", STATISTICS)
def test_fitted_inversion_does_not_see_the_spectrum(
    statistic: Literal["mean", "median", "mode"],
) -> None:
    """On the normal problem of V15: the mean shift on one test sample, in units of the width."""
    edges, shifts = np.linspace(-6.0, 6.0, 61), []
    test = gaussian.simulate_gaussian(GaussianProblem(), 20_000, seed=8)
    inversions = []
    for mean in (-1.0, 1.0):
        problem = GaussianProblem(mean=mean, width=2.5, noise=2.0)
        found = gaussian.simulate_gaussian(problem, ROWS, seed=7)
        inside = np.abs(found.true) < 6.0
        inversions.append(
            NumericalInversion.fit(
                found.true[inside],
                found.measured[inside],
                edges=edges[::5],
                statistic=statistic,
                spacing="linear",
            )
        )
        shifts.append(inversions[-1].apply(test.measured).mean())
    # A node is known to the width over sqrt(rows in its bin), some 8,000, a median to 1.25 and a
    # mode to 1.4 times as much; the mean over the test sample divides this by about 2.
    allowed = 4 * {"mean": 1.0, "median": 1.25, "mode": 1.4}[statistic] * (2 / 8000) ** 0.5 / 2
    problem = GaussianProblem(mean=1.0, width=2.5, noise=2.0)
    regression = 2 * problem.mean * (1.0 - problem.slope) / problem.noise
    assert abs(shifts[1] - shifts[0]) / problem.noise < allowed < 0.6 * regression


def test_median_closes_in_bins_of_an_auxiliary_variable() -> None:
    random = np.random.default_rng(9)
    true, eta = 10.0 ** random.uniform(1.0, 3.0, ROWS), random.uniform(0.0, 2.4, ROWS)
    scale = np.where(eta < 1.2, 0.8, 0.6)
    measured = scale * true**0.95 * np.exp(random.normal(0.0, 0.2, ROWS))
    edges, regions = np.geomspace(10.0, 1000.0, 16), np.array([0.0, 1.2, 2.4])
    seen = NumericalInversion.fit(
        true, measured, edges=edges, auxiliary={"abs_eta": (eta, regions)}
    )
    blind = NumericalInversion.fit(true, measured, edges=edges)
    for region in range(2):
        rows = (eta // 1.2 == region) & (true > 15.0) & (true < 700.0)
        error = 1.2533 * 0.2 / 0.95 / rows.sum() ** 0.5
        median = np.median(seen.apply(measured[rows], abs_eta=eta[rows]) / true[rows])
        assert abs(median - 1.0) < 4 * error + 5e-4
        assert abs(np.median(blind.apply(measured[rows]) / true[rows]) - 1.0) > 0.1
    inside = seen.in_range([50.0, 50.0, 1e9], abs_eta=[1.0, 3.0, 1.0])
    assert inside.tolist() == [True, False, False]
    nearest = seen.apply([50.0, 50.0], abs_eta=[2.0, 9.0])
    assert nearest[0] == nearest[1]


def test_state_is_json_and_complete() -> None:
    random = np.random.default_rng(10)
    true, mu = random.uniform(1.0, 100.0, 5000), random.uniform(0.0, 80.0, 5000)
    measured = 0.8 * true + 0.05 * mu
    first = NumericalInversion.fit(
        true,
        measured,
        edges=np.geomspace(1.0, 100.0, 6),
        auxiliary={"mu": (mu, [0.0, 40.0, 80.0])},
        statistic="mean",
    )
    again = NumericalInversion.from_state(json.loads(json.dumps(first.state)))
    at = random.uniform(1.0, 90.0, 50)
    assert np.array_equal(first.apply(at, mu=mu[:50]), again.apply(at, mu=mu[:50]))
    assert again.statistic == "mean"


def test_a_response_that_falls_is_refused_with_its_bin() -> None:
    expected = (
        r"the median of measured goes from 2 to 1\.5 between true = 2 and 3 in bin "
        r"eta \[0, 1\); it must rise"
    )
    with pytest.raises(DataError, match=expected):
        NumericalInversion(
            true=np.array([1.0, 2.0, 3.0]),
            measured=np.array([[1.0, 2.0, 1.5]]),
            auxiliary={"eta": np.array([0.0, 1.0])},
        )


def test_bins_without_rows_are_named() -> None:
    with pytest.raises(DataError, match=r"2 rows in bin true \[10, 20\); needed: 20"):
        NumericalInversion.fit(
            np.array([*np.linspace(1, 9, 50), 11, 12]), np.ones(52), edges=[1, 10, 20]
        )


def test_impossible_input_is_refused() -> None:
    log = NumericalInversion.of(np.sqrt, low=1.0, high=100.0, spacing="log")
    with pytest.raises(DataError, match=r"measured -1\.0 in row 1 .* needed: positive"):
        log.apply([1.0, -1.0])
    with pytest.raises(ConfigError, match=r"got \['eta'\]; needed: \[\]"):
        log.apply([1.0], eta=[0.0])
    with pytest.raises(ConfigError, match=r"unknown statistic 'medain'.*Did you mean 'median'"):
        NumericalInversion.fit([1.0], [1.0], edges=[0, 2], statistic="medain")  # type: ignore[arg-type]  # a wrong value
    with pytest.raises(ShapeError, match=r"measured \(3,\); needed: \(2,\)"):
        NumericalInversion(true=np.array([1.0, 2.0]), measured=np.array([1.0, 2.0, 3.0]))
    line = np.array([0.0, 1.0])
    with pytest.raises(DataError, match="node is not positive"):
        NumericalInversion(true=line, measured=line, spacing="log")
