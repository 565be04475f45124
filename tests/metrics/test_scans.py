from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from hepcalib import hists, metrics
from hepcalib.exceptions import ShapeError

if TYPE_CHECKING:
    from hist import Hist

SIZES = (1e3, 3e3, 1e4, 3e4, 1e5)


def test_an_exact_power_law_is_found_exactly() -> None:
    x = np.array(SIZES)
    y = 3.0 * x**-0.5
    found = metrics.power_law(x, y, 0.01 * y)
    assert found is not None
    assert found.slope == pytest.approx(-0.5, abs=1e-12)
    assert found.amplitude == pytest.approx(3.0, rel=1e-11)
    assert found.chi2 == pytest.approx(0.0, abs=1e-18)
    assert (found.degrees, found.low, found.high) == (3, 1e3, 1e5)


def test_the_fit_is_that_of_numpy() -> None:
    rng = np.random.default_rng(111)
    x, relative = np.array(SIZES), np.array([0.01, 0.05, 0.02, 0.03, 0.04])
    y = 2.0 * x**-0.4 * np.exp(3.0 * rng.normal(0.0, relative))
    (slope, height), covariance = np.polyfit(
        np.log(x), np.log(y), 1, w=1.0 / relative, cov="unscaled"
    )
    found = metrics.power_law(x, y, relative * y)
    assert found is not None
    assert found.slope == pytest.approx(slope, rel=1e-9)
    assert found.amplitude == pytest.approx(np.exp(height), rel=1e-9)
    grown = np.sqrt(found.chi2 / found.degrees)
    assert grown > 1.0
    assert found.slope_error == pytest.approx(grown * np.sqrt(covariance[0, 0]), rel=1e-9)
    expected = grown * found.amplitude * np.sqrt(covariance[1, 1])
    assert found.amplitude_error == pytest.approx(expected, rel=1e-9)


def test_the_error_of_the_slope_covers_also_if_points_scatter_more_than_they_claim() -> None:
    rng, x, repeats = np.random.default_rng(112), np.geomspace(1e3, 1e6, 10), 400
    outside = {}
    for scatter in (0.02, 0.1):
        missed = 0
        for _ in range(repeats):
            y = x**-0.5 * np.exp(rng.normal(0.0, scatter, x.size))
            found = metrics.power_law(x, y, 0.02 * y)
            assert found is not None
            missed += abs(found.slope + 0.5) > 2.0 * found.slope_error
        outside[scatter] = missed / repeats
    # 4.6 % for a normal, up to 8.1 % for a t with 8 degrees; 4 sigma of 400 repeats is 5.4 %.
    assert all(share < 0.081 + 0.054 for share in outside.values())


def test_points_that_mean_nothing_are_left_out() -> None:
    x, y = [1.0, 10.0, 100.0, 1000.0], [1.0, np.nan, 0.1, 0.0]
    found = metrics.power_law(x, y, [0.1, 0.1, 0.01, 0.0])
    assert found is not None
    assert found.slope == pytest.approx(-0.5)
    assert found.degrees == 0
    assert metrics.power_law([1.0, 2.0], [1.0, np.nan], [0.1, 0.1]) is None
    assert metrics.power_law([2.0, 2.0], [1.0, 1.1], [0.1, 0.1]) is None
    with pytest.raises(ShapeError, match="must be"):
        metrics.power_law([1.0, 2.0], [1.0], [0.1])


def test_a_plateau_begins_where_the_points_stop_changing() -> None:
    x = np.array([1e3, 1e4, 1e5, 1e6, 3e6])
    y = np.array([0.30, 0.25, 0.202, 0.200, 0.199])
    found = metrics.plateau(x, y, np.full(5, 1e-3))
    assert found is not None
    assert (found.start, found.points) == (1e5, 3)
    assert found.value == pytest.approx(y[2:].mean())
    assert found.error == pytest.approx(y[2:].std(ddof=1) / np.sqrt(3.0))
    shuffled = metrics.plateau(x[::-1], y[::-1], np.full(5, 1e-3))
    assert shuffled == pytest.approx(found)


def test_the_error_of_a_plateau_is_at_least_that_of_the_mean() -> None:
    found = metrics.plateau([1.0, 2.0], [0.2, 0.2], [0.01, 0.01])
    assert found is not None
    assert found.error == pytest.approx(0.01 / np.sqrt(2.0))


def test_what_keeps_falling_has_no_plateau() -> None:
    x = np.geomspace(1e3, 1e6, 7)
    assert metrics.plateau(x, 3.0 * x**-0.5, 1e-4 * x**-0.5) is None
    assert metrics.plateau([1.0], [0.2], [0.01]) is None


def linear_model(size: int, rng: np.random.Generator, *, noise: float = 0.5) -> Hist[Any]:
    """Fill what exact least squares of 5 parameters says of 2000 new rows."""
    x, new = rng.normal(size=(size, 5)), rng.normal(size=(2000, 5))
    inverse = np.linalg.inv(x.T @ x)
    statistical = noise * np.sqrt(np.einsum("ni,ij,nj->n", new, inverse, new))
    filled = hists.uncertainty()
    systematic = np.full(2000, noise) * np.exp(rng.normal(0.0, 0.02, 2000))
    kinds = {
        "statistical": statistical,
        "systematic": systematic,
        "total": np.hypot(statistical, systematic),
    }
    for kind, values in kinds.items():
        hists.fill_uncertainty(filled, kind=kind, uncertainty=values)
    return filled


def test_the_linear_model_falls_with_the_square_root_to_a_plateau() -> None:
    rng = np.random.default_rng(113)
    found = metrics.scan({size: linear_model(int(size), rng) for size in reversed(SIZES)})
    assert found.values.tolist() == list(SIZES)
    law, flat = found.statistical_slope, found.systematic_plateau
    assert law is not None
    assert abs(law.slope + 0.5) < 0.05
    assert abs(law.slope + 0.5) < 4.0 * law.slope_error
    assert law.slope_error < 0.02
    assert found.falls
    # The median of chi with 5 degrees of freedom is sqrt(4.351).
    assert law.amplitude == pytest.approx(0.5 * np.sqrt(4.351), rel=0.1)
    assert flat is not None
    assert (flat.points, flat.start) == (5, 1e3)
    assert abs(flat.value - 0.5) < 5.0 * flat.error
    assert np.all(found.total >= found.systematic)
    assert np.all(found.entries == 2000)


def test_an_uncertainty_that_does_not_fall_has_no_such_slope() -> None:
    rng = np.random.default_rng(114)
    found = metrics.scan({size: linear_model(1000, rng) for size in SIZES})
    law = found.statistical_slope
    assert law is not None
    assert abs(law.slope) < 4.0 * law.slope_error
    assert abs(law.slope + 0.5) > 20.0 * law.slope_error
    assert not found.falls


def test_models_without_statistical_uncertainty_have_no_slope() -> None:
    scanned = {}
    for size in SIZES:
        scanned[size] = hists.uncertainty()
        hists.fill_uncertainty(scanned[size], kind="statistical", uncertainty=np.zeros(50))
        hists.fill_uncertainty(scanned[size], kind="systematic", uncertainty=np.full(50, 0.2))
    found = metrics.scan(scanned)
    assert np.isnan(found.statistical).all()
    assert found.statistical_slope is None
    assert not found.falls
    assert found.systematic_plateau is not None


def test_a_scan_of_a_setting_is_not_fitted() -> None:
    found = metrics.scan({0.1: hists.uncertainty()}, parameter="Prior width", fit=False)
    assert (found.parameter, found.statistical_slope, found.systematic_plateau) == (
        "Prior width",
        None,
        None,
    )
    assert np.isnan(found.total).all()
