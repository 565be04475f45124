from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from hepcalib import hists, metrics
from hepcalib.exceptions import ShapeError

if TYPE_CHECKING:
    from hist import Hist

ROWS = 60_000
WIDTH = 0.2


def ratios(shift: float = 0.0) -> Hist[Any]:
    """Log-normal ratios around e^shift, of one width, against mu up to 40."""
    rng = np.random.default_rng(81)
    filled = hists.feature_response("mu")
    ratio = np.exp(rng.normal(shift, WIDTH, ROWS))
    hists.fill_feature_response(filled, values=rng.uniform(0.0, 40.0, ROWS), ratio=ratio)
    return filled


def test_median_and_quantiles_are_those_of_a_log_normal() -> None:
    found = metrics.profile(ratios())
    full = np.isfinite(found.median)
    assert full.tolist() == [True] * 20 + [False] * 20
    entries = found.entries[:20]
    assert entries.sum() == ROWS
    # sqrt(p (1 - p) / n) / density: sqrt(pi / 2) s / sqrt(n) for the median.
    expected = np.sqrt(np.pi / 2.0) * WIDTH / np.sqrt(entries)
    assert np.allclose(found.median_error[:20], expected, rtol=0.25)
    assert np.all(np.abs(found.median[:20] - 1.0) < 4.0 * found.median_error[:20])
    for values, exact in ((found.low, np.exp(-WIDTH)), (found.high, np.exp(WIDTH))):
        error = exact * WIDTH * 1.524 / np.sqrt(entries)  # sqrt(p (1 - p)) / phi(1)
        assert np.all(np.abs(values[:20] - exact) < 4.5 * error)
    assert found.values.shape == (40, 150)
    assert (found.variable, found.spacing, found.quantity_spacing) == ("mu", "linear", "linear")


def test_a_shift_of_five_percent_is_seen() -> None:
    found = metrics.profile(ratios(shift=0.05))
    seen = np.abs(found.median[:20] - 1.0) / found.median_error[:20]
    assert np.median(seen) > 5.0


def test_a_profile_needs_two_axes() -> None:
    with pytest.raises(ShapeError, match="two axes"):
        metrics.profile(hists.coverage("mu", methods=["BNN"]))


def covered(scale: float, *, weight: float | None = None) -> Hist[Any]:
    """Standard normal truths in intervals of the given half-width, against rapidity."""
    rng = np.random.default_rng(82)
    filled = hists.coverage("rapidity", methods=["BNN", "Empty"])
    hists.fill_coverage(
        filled,
        method="BNN",
        values=rng.uniform(-2.5, 2.5, ROWS),
        inside=np.abs(rng.normal(size=ROWS)) < scale,
        weight=None if weight is None else np.full(ROWS, weight),
    )
    return filled


def test_intervals_of_one_sigma_cover_68_percent_everywhere() -> None:
    found = metrics.coverage_profile(covered(1.0))["BNN"]
    assert np.all(np.abs(found.fraction - 0.6827) < 4.5 * found.fraction_error)
    expected = np.sqrt(0.6827 * 0.3173 / found.entries)
    assert np.allclose(found.fraction_error, expected, rtol=0.1)
    assert abs(found.overall - 0.6827) < 4.0 * found.overall_error
    assert found.overall_error == pytest.approx(np.sqrt(0.6827 * 0.3173 / ROWS), rel=0.02)
    assert found.worst == np.abs(found.fraction - 0.6827).max()
    assert found.entries.sum() == ROWS


def test_intervals_of_half_a_sigma_do_not() -> None:
    found = metrics.coverage_profile(covered(0.5))["BNN"]
    assert abs(found.overall - 0.3829) < 4.0 * found.overall_error
    assert np.all(0.6827 - found.fraction > 5.0 * found.fraction_error)


def test_coverage_does_not_depend_on_the_scale_of_the_weights() -> None:
    plain, scaled = (
        metrics.coverage_profile(covered(1.0, weight=weight))["BNN"] for weight in (None, 0.25)
    )
    assert np.allclose(plain.fraction, scaled.fraction, rtol=1e-12)
    assert np.allclose(plain.fraction_error, scaled.fraction_error, rtol=1e-12)
    assert np.allclose(plain.entries, scaled.entries, rtol=1e-12)
    assert plain.overall_error == pytest.approx(scaled.overall_error)


def test_methods_without_entries_have_no_coverage() -> None:
    found = metrics.coverage_profile(covered(1.0))["Empty"]
    assert np.isnan(found.fraction).all()
    assert np.isnan([found.overall, found.worst]).all()
    assert not found.entries.any()


def inputs(standardised: bool) -> Hist[Any]:
    rng = np.random.default_rng(83)
    logs = rng.normal(0.6, 0.7, ROWS)
    filled = hists.feature_input("energy")
    seen = (logs - 0.6) / 0.7 if standardised else logs
    hists.fill_feature_input(filled, values=10.0**logs, transformed=seen)
    return filled


def test_a_standardised_input_has_mean_0_and_width_1() -> None:
    found = metrics.input_distribution(inputs(standardised=True))
    assert abs(found.transformed_mean) < 4.0 / np.sqrt(ROWS)
    bins = 0.125**2 / 24.0  # what bins of 1/8 add to the width
    assert abs(found.transformed_width - 1.0 - bins) < 4.0 / np.sqrt(2.0 * ROWS)
    assert found.transformed_fraction.sum() == pytest.approx(1.0 - found.outside)
    assert found.fraction_error == pytest.approx(np.sqrt(found.fraction / ROWS))


def test_an_input_that_is_not_standardised_is_seen() -> None:
    found = metrics.input_distribution(inputs(standardised=False))
    assert found.transformed_mean > 0.5
    assert found.transformed_width < 0.8


def test_an_input_without_entries_is_nan() -> None:
    found = metrics.input_distribution(hists.feature_input("energy"))
    assert np.isnan(found.fraction).all()
    assert np.isnan([found.transformed_mean, found.transformed_width, found.outside]).all()
