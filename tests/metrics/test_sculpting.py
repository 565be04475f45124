from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy.special import expit

from hepcalib import hists, metrics

if TYPE_CHECKING:
    from hist import Hist

ROWS = 50_000
EFFICIENCIES = (0.02, 0.1, 0.5)


@pytest.fixture(scope="module")
def filled() -> Hist[Any]:
    rng = np.random.default_rng(111)
    made = hists.score("mass", taggers=["unused", "independent", "sculpting"])
    for label, mean in (("background", -1.0), ("signal", 1.0)):
        mass = 50.0 + rng.exponential(60.0, ROWS)
        logit = rng.normal(mean, 1.0, ROWS)
        bump = np.exp(-0.5 * ((mass - 80.0) / 15.0) ** 2)
        for tagger, leak in (("independent", 0.0), ("sculpting", 1.0)):
            score = expit(logit + leak * bump)
            hists.fill_score(made, tagger=tagger, label=label, score=score, values=mass)
    return made


def test_divergence_at_each_cut(filled: Hist[Any]) -> None:
    found = metrics.sculpting_curves(filled, background_efficiencies=EFFICIENCIES)
    limit = metrics.limit_curve(filled, background_efficiencies=EFFICIENCIES)
    width = limit.jsd_high - limit.jsd_low
    independent, sculpting = found["independent"], found["sculpting"]
    assert np.all(np.abs(independent.jsd - limit.jsd) < 2.5 * width)
    assert np.all(sculpting.jsd > limit.jsd_high + 10.0 * width)
    # With 1000 jets in 50 bins some bins have one: the formula is for more.
    np.testing.assert_allclose(limit.jsd[1:], independent.limit[1:], rtol=0.05)
    assert limit.jsd[0] > independent.limit[0]
    assert np.all(np.diff(independent.signal_efficiency) > 0.0)
    assert np.isnan(found["unused"].jsd).all()


def test_the_curve_passes_through_the_cut_of_the_merit(filled: Hist[Any]) -> None:
    merit = metrics.decorrelation_merits(filled)["sculpting"]
    efficiency = merit.rejections[0].background_efficiency
    found = metrics.sculpting_curves(filled, background_efficiencies=[efficiency])["sculpting"]
    assert found.jsd[0] == pytest.approx(merit.jsd.jsd, rel=1e-9)
    assert found.signal_efficiency[0] == pytest.approx(0.5, rel=1e-9)


def test_flatness_at_each_cut(filled: Hist[Any]) -> None:
    found = metrics.efficiency_flatness(filled, background_efficiencies=EFFICIENCIES)
    assert found["unused"] == ()
    for flat, sculpted, efficiency in zip(
        found["independent"], found["sculpting"], EFFICIENCIES, strict=True
    ):
        # All masses set the cut, those on the axis are counted: 1.6 % of the jets are beyond.
        assert flat.background_efficiency == pytest.approx(efficiency, rel=0.05)
        noise = flat.expected_high - flat.expected_low
        assert flat.deviation < flat.expected_high + 1.5 * noise
        assert sculpted.deviation > sculpted.expected_high + 1.5 * noise


def test_without_background_there_is_no_limit(filled: Hist[Any]) -> None:
    limit = metrics.limit_curve(filled.copy().reset())
    assert np.isnan(limit.jsd).all()
    assert limit.jsd.shape == limit.background_efficiency.shape
