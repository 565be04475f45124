from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.special import expit

from hepcalib import hists, metrics
from hepcalib.exceptions import ConfigError

JETS = 5000


def rng() -> np.random.Generator:
    return np.random.default_rng(8)


def test_spreads_follow_the_parabola_of_the_logit() -> None:
    random = rng()
    logit, width = random.normal(0.0, 2.0, JETS), 0.1
    draws = expit(logit + width * random.normal(size=(400, JETS)))
    score, spread = draws.mean(axis=0), draws.std(axis=0)
    histogram = hists.score_spread(["drawn", "linear", "wide"])
    for origin, values in (
        ("drawn", spread),
        ("linear", metrics.linear_spread(score, width)),
        ("wide", metrics.linear_spread(score, 2 * width)),
    ):
        hists.fill_score_spread(histogram, origin=origin, score=score, spread=values)
    found = metrics.score_spreads(histogram)
    drawn, linear, wide = (found[name].spread for name in ("drawn", "linear", "wide"))
    # A bin of the spread is 0.002 wide.
    np.testing.assert_allclose(drawn, linear, atol=0.001)
    assert np.nanmax(np.abs(wide - drawn)) > 0.01
    assert found["drawn"].entries == JETS
    assert drawn[25] == pytest.approx(0.25 * width, abs=0.001)


def test_a_spread_above_one_half_is_kept() -> None:
    histogram = hists.score_spread(["only"])
    hists.fill_score_spread(histogram, origin="only", score=[1.0, 0.5], spread=[0.0, 0.7])
    assert histogram.values().sum() == 2.0
    assert histogram.values()[0, 25, -1] == 1.0


def test_changes_have_the_mean_and_the_width_they_were_made_with() -> None:
    histogram = hists.score_change("logit_mean", shifts=["-0.1", "+0.1"])
    for shift, mean in (("-0.1", -0.3), ("+0.1", 0.4)):
        change = rng().normal(mean, 0.5, JETS)
        hists.fill_score_change(histogram, shift=shift, label="signal", change=change)
    found = metrics.score_changes(histogram)
    assert list(found) == ["signal"]
    signal = found["signal"]
    assert [float(shift) for shift in signal.shifts] == [-0.1, 0.1]
    np.testing.assert_allclose(signal.mean, [-0.3, 0.4], atol=4 * 0.5 / np.sqrt(JETS))
    np.testing.assert_allclose(signal.mean_error, 0.5 / np.sqrt(JETS), rtol=0.05)
    np.testing.assert_allclose(signal.width, 0.5, rtol=4 / np.sqrt(2 * JETS))
    np.testing.assert_allclose(signal.high - signal.low, 1.0, rtol=0.1)


def test_no_change_is_exactly_none() -> None:
    histogram = hists.score_change("score", shifts=["0"])
    hists.fill_score_change(histogram, shift="0", label="background", change=np.zeros(50))
    found = metrics.score_changes(histogram)["background"]
    assert found.mean[0] == pytest.approx(0.0, abs=1e-12)
    assert found.width[0] == pytest.approx(0.0, abs=1e-12)


def test_widths_have_a_median_and_a_density() -> None:
    histogram = hists.logit_width(["Nominal", "Shifted"])
    width = np.exp(rng().normal(np.log(0.3), 0.2, JETS))
    hists.fill_logit_width(histogram, shift="Nominal", label="signal", width=width)
    hists.fill_logit_width(histogram, shift="Shifted", label="signal", width=1.2 * width)
    found = metrics.width_spectra(histogram)
    nominal, shifted = found["Nominal"]["signal"], found["Shifted"]["signal"]
    assert nominal.median == pytest.approx(0.3, abs=4 * nominal.median_error)
    assert shifted.median - nominal.median > 10 * nominal.median_error
    assert (nominal.density * np.diff(np.log10(nominal.edges))).sum() == pytest.approx(1.0)
    assert set(found["Nominal"]) == {"signal"}


def test_ratio_of_widths() -> None:
    random, histogram = rng(), hists.width_ratio()
    ratio = np.exp(random.normal(np.log(1.2), 0.3, JETS))
    hists.fill_width_ratio(histogram, score=random.random(JETS), ratio=ratio)
    found = metrics.width_ratios(histogram)
    assert found.median == pytest.approx(1.2, abs=4 * found.median_error)
    assert np.all(np.abs(found.ratio - 1.2) < 5 * found.ratio_error)
    assert found.low == pytest.approx(1.2 * np.exp(-0.3), rel=0.05)
    assert found.high == pytest.approx(1.2 * np.exp(0.3), rel=0.05)


def test_empty_histograms_give_nan_without_a_word() -> None:
    assert metrics.score_changes(hists.score_change("score", shifts=["0"])) == {}
    assert np.isnan(metrics.score_spreads(hists.score_spread(["a"]))["a"].spread).all()
    assert metrics.width_spectra(hists.logit_width(["a"])) == {"a": {}}
    assert np.isnan(metrics.width_ratios(hists.width_ratio()).median)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: hists.score_change("scores", shifts=["a"]), "unknown quantity 'scores'. Known"),
        (lambda: hists.score_change("score", shifts=["a", "a"]), "each only once"),
        (lambda: hists.tagger_cost([]), "at least one category"),
    ],
)
def test_histograms_that_cannot_be_meant(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()
