from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import norm

from hepcalib import hists, metrics

JETS = 6000


def filled(distance: float, *, seed: int = 1, jets: int = JETS) -> Any:
    """Scores of normal variables of unit width, N(distance, 1) and N(0, 1)."""
    rng = np.random.default_rng(seed)
    histogram = hists.score("pt", taggers=["near", "far"])
    for tagger, shift in (("near", 0.5 * distance), ("far", distance)):
        for label, mean in (("signal", shift), ("background", 0.0)):
            score = expit(rng.normal(mean, 1.0, jets))
            pt = np.full(jets, 300.0)
            hists.fill_score(histogram, tagger=tagger, label=label, score=score, values=pt)
    return histogram


def test_merits_are_those_of_two_normal_distributions() -> None:
    found = metrics.tagger_merits(filled(2.0))["far"]
    assert found.auc == pytest.approx(0.92135, abs=4 * found.auc_error)
    assert found.auc - 0.76025 > 20 * found.auc_error  # of distance 1
    expected = [43.96, 172.6]
    for value, error, exact in zip(found.rejections, found.rejection_errors, expected, strict=True):
        assert value == pytest.approx(exact, abs=4 * error)
        assert 0.0 < error < 0.5 * exact


def test_bootstrap_errors_are_the_spread_over_samples() -> None:
    found = [metrics.tagger_merits(filled(1.0, seed=n), replicas=60)["far"] for n in range(40)]
    for values, errors in (
        ([one.auc for one in found], [one.auc_error for one in found]),
        ([one.rejections[0] for one in found], [one.rejection_errors[0] for one in found]),
    ):
        # The relative error of a standard deviation of n values is 1 / sqrt(2 n).
        ratio = np.std(values, ddof=1) / np.mean(errors)
        assert ratio == pytest.approx(1.0, abs=4.0 / np.sqrt(2 * len(values)))


def test_the_area_agrees_with_the_roc_curve_and_its_error() -> None:
    histogram = filled(1.5)
    curve, merit = metrics.roc(histogram)["near"], metrics.tagger_merits(histogram)["near"]
    assert merit.auc == pytest.approx(curve.auc, abs=1e-12)
    assert merit.auc_error == pytest.approx(curve.auc_error, rel=4.0 / np.sqrt(2 * 300))
    exact = 1.0 / norm.sf(norm.ppf(0.5, loc=0.75))
    assert merit.rejections[0] == pytest.approx(exact, abs=4 * merit.rejection_errors[0])


def test_without_background_there_is_no_merit() -> None:
    histogram = hists.score("pt", taggers=["one"])
    hists.fill_score(histogram, tagger="one", label="signal", score=[0.5], values=[300.0])
    found = metrics.tagger_merits(histogram)["one"]
    assert np.isnan([found.auc, found.auc_error, *found.rejections]).all()


def test_costs_of_chunks_add_up_to_quotients() -> None:
    parts = []
    for jets, seconds in ((100, 0.5), (300, 1.5), (0, 0.0)):
        histogram = hists.tagger_cost(["one", "two"])
        hists.fill_tagger_cost(histogram, tagger="one", jets=jets, parameters=42, seconds=seconds)
        hists.fill_tagger_cost(histogram, tagger="two", jets=jets, parameters=7)
        parts.append(histogram)
    found = metrics.tagger_costs(sum(parts[1:], parts[0]))
    assert found["one"].parameters == pytest.approx(42.0)
    assert found["one"].jets_per_second == pytest.approx(200.0)
    assert found["one"].jets == 400.0
    assert found["two"].parameters == pytest.approx(7.0)
    assert np.isnan(found["two"].jets_per_second)
    nothing = metrics.tagger_costs(hists.tagger_cost(["one"]))["one"]
    assert np.isnan([nothing.parameters, nothing.jets_per_second]).all()
