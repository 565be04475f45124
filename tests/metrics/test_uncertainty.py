from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from hepcalib import hists, metrics

if TYPE_CHECKING:
    from hist import Hist

ROWS = 50_000


def pulls_of(scale: float) -> Hist[Any]:
    filled = hists.pull()
    pull = np.random.default_rng(21).normal(0.0, scale, ROWS)
    hists.fill_pull(filled, kind="total", pull=pull)
    return filled


def test_pulls_of_right_uncertainties_are_standard_normal() -> None:
    found = metrics.pulls(pulls_of(1.0))["pull"]
    assert found.entries == ROWS
    assert abs(found.mean) < 4.0 * found.mean_error
    assert abs(found.width - 1.0) < 4.0 * found.width_error
    assert abs(found.robust_width - 1.0) < 4.0 * found.robust_width_error
    assert found.mean_error == pytest.approx(1.0 / np.sqrt(ROWS), rel=0.02)
    assert found.width_error == pytest.approx(1.0 / np.sqrt(2.0 * ROWS), rel=0.05)
    assert found.density @ np.diff(found.edges) == pytest.approx(1.0)


def test_pulls_on_halved_uncertainties_are_twice_as_wide() -> None:
    found = metrics.pulls(pulls_of(2.0))["pull"]
    for width, error in (
        (found.width, found.width_error),
        (found.robust_width, found.robust_width_error),
    ):
        assert abs(width - 1.0) > 20.0 * error
        assert abs(width - 2.0) < 4.0 * error


def test_fractions_are_nominal_for_right_and_short_for_halved_uncertainties() -> None:
    right, halved = (metrics.pull_fractions(pulls_of(scale))["pull"] for scale in (1.0, 2.0))
    assert np.all(np.abs(right.fraction - right.levels) < 4.0 * right.fraction_error)
    assert right.fraction_error[0] == pytest.approx(np.sqrt(0.68 * 0.32 / ROWS), rel=0.05)
    # 2 Phi(z / 2) - 1 at the z of 68 and 95 %.
    assert halved.fraction == pytest.approx([0.3810, 0.6729], abs=0.01)
    assert np.all(right.levels - halved.fraction > 20.0 * halved.fraction_error)


def test_pulls_outside_the_range_count_as_not_covered() -> None:
    filled = hists.pull()
    hists.fill_pull(filled, kind="total", pull=[0.05] * 60 + [100.0] * 40)
    found = metrics.pull_fractions(filled)["pull"]
    assert found.fraction == pytest.approx([0.6, 0.6])


@pytest.mark.parametrize("scale", [8.0, 15.2, 300.0])
def test_wide_residuals_have_their_full_width(scale: float) -> None:
    """Residuals over a small part of the uncertainty; cut at 20 they would look narrow."""
    residuals = scale * np.random.default_rng(23).standard_t(4, ROWS)
    filled = hists.pull()
    hists.fill_pull(filled, kind="statistical", pull=residuals)
    found = metrics.pulls(filled)["residual over statistical"]
    # Bins 12 % wide move a value by at most 6 %, and both signs alike.
    assert found.width == pytest.approx(residuals.std(), rel=0.005)
    low, high = np.quantile(residuals, (0.158655, 0.841345))
    assert found.robust_width == pytest.approx(0.5 * (high - low), rel=0.01)
    cut = residuals[np.abs(residuals) < 20.0]
    assert cut.std() < 0.9 * residuals.std()


def test_only_the_residual_over_the_total_is_called_a_pull() -> None:
    names = list(hists.pull().axes["kind"])
    assert [name for name in names if name == "pull"] == names[:1]
    assert names[1:] == ["residual over systematic", "residual over statistical"]


def test_kinds_without_entries_are_nan() -> None:
    empty = hists.pull()
    for pull in metrics.pulls(empty).values():
        assert np.isnan([pull.mean, pull.mean_error, pull.width, pull.robust_width]).all()
        assert np.isnan(pull.density).all()
    for found in metrics.pull_fractions(empty).values():
        assert np.isnan(found.fraction).all()
        assert np.isnan(found.fraction_error).all()
    for spectrum in metrics.uncertainty_spectrum(hists.uncertainty()).values():
        assert np.isnan(spectrum.density).all()
        assert spectrum.peaks == ()
        assert spectrum.valley is None


def spectrum_of(*parts: tuple[float, float, int], weight: float = 1.0) -> Hist[Any]:
    rng = np.random.default_rng(22)
    filled = hists.uncertainty()
    for middle, decades, rows in parts:
        sigma = 10.0 ** rng.normal(np.log10(middle), decades, rows)
        hists.fill_uncertainty(
            filled, kind="total", uncertainty=sigma, weight=np.full(rows, weight)
        )
    return filled


def test_two_populations_give_two_maxima_and_a_valley_between() -> None:
    parts = ((0.16, 0.12, 88_000), (0.64, 0.05, 12_000))
    found = metrics.uncertainty_spectrum(spectrum_of(*parts))["total"]
    assert len(found.peaks) == 2
    # The place of a maximum found from n rows is known to about width n^(-1/3), and one bin.
    assert np.log10(found.peaks[0] / 0.16) == pytest.approx(0.0, abs=0.05)
    assert np.log10(found.peaks[1] / 0.64) == pytest.approx(0.0, abs=0.03)
    assert found.valley is not None
    assert 0.4 < found.valley < 0.56
    assert found.density @ np.diff(np.log10(found.edges)) == pytest.approx(1.0)


@pytest.mark.parametrize("rows", [100, 1000, 100_000])
def test_one_population_has_one_maximum_and_no_valley(rows: int) -> None:
    found = metrics.uncertainty_spectrum(spectrum_of((0.16, 0.12, rows)))["total"]
    assert len(found.peaks) == 1
    assert found.valley is None


def test_maxima_do_not_depend_on_the_scale_of_the_weights() -> None:
    parts = ((0.16, 0.12, 20_000), (0.64, 0.05, 4_000))
    one, other = (
        metrics.uncertainty_spectrum(spectrum_of(*parts, weight=weight))["total"]
        for weight in (1.0, 0.25)
    )
    assert one.peaks == other.peaks
    assert one.valley == other.valley


def test_a_third_population_is_a_third_maximum() -> None:
    parts = ((0.02, 0.08, 20_000), (0.16, 0.08, 60_000), (0.9, 0.08, 30_000))
    found = metrics.uncertainty_spectrum(spectrum_of(*parts))["total"]
    assert len(found.peaks) == 3
    assert found.valley is not None
    assert 0.2 < found.valley < 0.8  # between the highest two
