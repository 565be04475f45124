from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy.special import expit, logit

from hepcalib import hists, metrics
from hepcalib.exceptions import DataError

if TYPE_CHECKING:
    from hist import Hist
    from numpy.typing import NDArray

JETS = 40_000


def filled(
    *, stretch: float = 1.0, seed: int = 1, keep: float = 1.0, weight: float = 1.0
) -> Hist[Any]:
    """Scores that are probabilities, their logits stretched; a share of the background is kept."""
    rng = np.random.default_rng(seed)
    a = rng.normal(0.0, 2.0, JETS)
    truth = rng.random(JETS) < expit(a)
    score = expit(stretch * a)
    histogram = hists.score("pt", taggers=["tagger"])
    pt = np.full(JETS, 300.0)
    kept = truth | (rng.random(JETS) < keep)
    for label, rows in (("signal", truth & kept), ("background", ~truth & kept)):
        hists.fill_score(
            histogram,
            tagger="tagger",
            label=label,
            score=score[rows],
            values=pt[rows],
            weight=np.full(int(rows.sum()), weight),
        )
    return histogram


def significance(found: metrics.Reliability) -> float:
    return (found.error - found.error_if_right) / found.error_spread


def deviations(found: metrics.Reliability) -> NDArray[np.float64]:
    return np.asarray((found.fraction - found.score) / found.fraction_error)


def test_probabilities_are_reliable_and_others_are_not() -> None:
    right = metrics.reliability(filled())["tagger"]
    assert abs(significance(right)) < 4.0
    assert (deviations(right) ** 2).sum() < 15 + 5 * np.sqrt(30)
    for stretch in (0.7, 1.4):
        wrong = metrics.reliability(filled(stretch=stretch))["tagger"]
        assert significance(wrong) > 20.0
        assert (deviations(wrong) ** 2).sum() > 200


def test_error_of_right_scores_is_as_expected_over_many_samples() -> None:
    found = [metrics.reliability(filled(seed=seed))["tagger"] for seed in range(20, 45)]
    ratio = np.array([significance(one) for one in found])
    assert abs(ratio.mean()) < 4.0 / np.sqrt(len(ratio))
    assert ratio.std(ddof=1) == pytest.approx(1.0, abs=4.0 / np.sqrt(2 * len(ratio)))


def test_the_calibration_error_of_stretched_logits_is_the_integral() -> None:
    stretch = 1.4
    a = np.random.default_rng(3).normal(0.0, 2.0, 1_000_000)
    score = expit(stretch * a)
    place = np.minimum((score * 15).astype(int), 14)
    sums = np.bincount(place, weights=expit(a) - score, minlength=15)
    expected = np.abs(sums).sum() / len(a)
    found = metrics.reliability(filled(stretch=stretch), bins=15)["tagger"]
    # The labels of all jets contribute with a sign that is their bin's, and fluctuate.
    fluctuation = np.sqrt(np.mean(expit(a) * expit(-a)) / JETS)
    assert found.error == pytest.approx(expected, abs=4 * fluctuation)


def test_another_share_of_background_is_undone_by_the_share_of_signal() -> None:
    fewer = filled(keep=0.2)
    assert significance(metrics.reliability(fewer)["tagger"]) > 20.0
    right = metrics.reliability(fewer, signal_share=0.5)["tagger"]
    assert abs(significance(right)) < 4.0
    assert right.signal_share == 0.5


def test_weights_of_another_scale_change_nothing() -> None:
    one, two = (metrics.reliability(filled(weight=w))["tagger"] for w in (1.0, 7.0))
    np.testing.assert_allclose(two.fraction, one.fraction, rtol=1e-12)
    np.testing.assert_allclose(two.fraction_error, one.fraction_error, rtol=1e-12)
    assert two.error_if_right == pytest.approx(one.error_if_right, rel=1e-12)


def test_without_jets_there_is_no_result() -> None:
    found = metrics.reliability(hists.score("pt", taggers=["tagger"]))["tagger"]
    assert np.isnan([found.error, found.error_if_right, *found.fraction]).all()


def test_a_share_that_is_none_is_refused() -> None:
    with pytest.raises(DataError, match=r"signal_share is 1.0; needed: between 0 and 1"):
        metrics.reliability(filled(), signal_share=1.0)


def test_the_probit_mean_and_the_linear_spread() -> None:
    at = np.random.default_rng(4).normal(size=400_000)
    scores = expit(1.0 + 0.5 * at)
    assert scores.mean() == pytest.approx(0.7204, abs=5e-4)
    assert scores.std() == pytest.approx(0.0970, abs=5e-4)
    assert float(metrics.linear_spread(0.7204, 0.5)) == pytest.approx(0.1007, abs=5e-5)
    assert float(metrics.probit_mean(1.0, 0.5)) == pytest.approx(0.7220, abs=5e-5)
    wide = expit(2.0 * at)
    assert wide.std() == pytest.approx(0.314, abs=1e-3)
    assert wide.std() < 0.5 < float(metrics.linear_spread(0.5, 2.1))


def test_the_probit_mean_is_within_two_percent() -> None:
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    logits, widths = np.meshgrid(np.linspace(-6.0, 6.0, 25), np.linspace(0.0, 6.0, 25))
    exact = (expit(logits[..., None] + widths[..., None] * nodes) @ weights) / weights.sum()
    assert np.abs(metrics.probit_mean(logits, widths) - exact).max() < 0.02
    assert np.abs(expit(logits) - exact).max() > 0.2  # what the mean logit alone would give
    assert float(metrics.probit_mean(logit(0.3), 0.0)) == pytest.approx(0.3)
