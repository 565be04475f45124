from __future__ import annotations

from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from hepcalib import hists, metrics
from hepcalib.exceptions import DataError
from hepcalib.metrics import Counts

if TYPE_CHECKING:
    from hist import Hist

ROWS = 100_000
PHI = NormalDist().cdf


def gaussian_scores(distance: float, *, rows: int = ROWS, leak: float = 0.0) -> Hist[Any]:
    """Scores whose logit is the likelihood ratio of N(d, 1) and N(0, 1); mass in 50-300 GeV."""
    rng = np.random.default_rng(41)
    filled = hists.score("mass", taggers=["plain", "unused"])
    for label, mean in (("signal", distance), ("background", 0.0)):
        mass = rng.uniform(50.0, 300.0, rows)
        x = rng.normal(mean, 1.0, rows) + leak * (mass - 175.0) / 72.0
        score = 1.0 / (1.0 + np.exp(-distance * (x - 0.5 * distance)))
        hists.fill_score(filled, tagger="plain", label=label, score=score, values=mass)
    return filled


@pytest.mark.parametrize("distance", [1.0, 2.0])
def test_rejection_and_area_of_two_gaussians(distance: float) -> None:
    filled = gaussian_scores(distance)
    for efficiency, shift in ((0.5, 0.0), (0.3, 0.52440)):
        found = metrics.rejection(filled, signal_efficiency=efficiency)["plain"]
        exact = 1.0 / PHI(-distance - shift)
        assert found.rejection == pytest.approx(exact, abs=4.0 * found.rejection_error)
        # Not better than the background alone allows, and not much worse.
        background = exact * np.sqrt((exact - 1.0) / ROWS)
        assert background < found.rejection_error < 2.0 * background
    area = metrics.roc(filled)["plain"]
    assert area.auc == pytest.approx(PHI(distance / np.sqrt(2.0)), abs=4.0 * area.auc_error)
    assert 0.0 < area.auc_error < 0.0015


def test_another_distance_is_told_apart() -> None:
    found = metrics.rejection(gaussian_scores(1.1))["plain"]
    assert abs(found.rejection - 6.303) > 10.0 * found.rejection_error


def test_errors_of_rejection_and_area_are_their_spread() -> None:
    rng = np.random.default_rng(42)
    edges = np.linspace(-6.0, 9.0, 1501)
    trials, found = 300, []
    for _ in range(trials):
        counted = [np.histogram(rng.normal(d, 1.0, 3000), edges)[0] for d in (1.0, 0.0)]
        signal, background = (Counts(n.astype(float), n.astype(float)) for n in counted)
        cut = metrics.rejection_at(signal, background, signal_efficiency=0.5)
        area = metrics.roc_curve(signal, background)
        found.append((cut.rejection, cut.rejection_error, area.auc, area.auc_error))
    values = np.array(found)
    for column in (0, 2):
        ratio = values[:, column + 1].mean() / values[:, column].std()
        assert ratio == pytest.approx(1.0, abs=4.0 / np.sqrt(2 * trials))


def test_roc_runs_from_none_to_all() -> None:
    curve = metrics.roc(gaussian_scores(1.0, rows=1000))["plain"]
    for efficiency in (curve.signal_efficiency, curve.background_efficiency):
        assert efficiency[0] == 0.0
        assert efficiency[-1] == pytest.approx(1.0)
        assert np.all(np.diff(efficiency) >= -1e-12)
    assert np.isnan(curve.rejection[0])
    assert curve.rejection[-1] == pytest.approx(1.0)


def test_a_useless_score_has_half_the_area() -> None:
    filled = hists.score("mu", taggers=["plain"])
    for label in ("signal", "background"):
        hists.fill_score(
            filled, tagger="plain", label=label, score=np.full(50, 0.3), values=np.full(50, 5.0)
        )
    assert metrics.roc(filled)["plain"].auc == pytest.approx(0.5)
    assert metrics.rejection(filled)["plain"].rejection == pytest.approx(2.0)


def test_taggers_without_jets_are_nan() -> None:
    filled = gaussian_scores(1.0, rows=10)
    curve, cut = metrics.roc(filled)["unused"], metrics.rejection(filled)["unused"]
    assert np.isnan([curve.auc, curve.auc_error]).all()
    assert np.isnan(cut[1:]).all()
    profile = metrics.efficiency_profile(filled)["unused"]
    assert np.isnan(profile.efficiency).all()
    assert metrics.score_distribution(filled)["unused"] == {}


def test_perfect_separation_has_no_finite_rejection() -> None:
    signal, background = (Counts(np.array(n), np.array(n)) for n in ([0.0, 9.0], [9.0, 0.0]))
    cut = metrics.rejection_at(signal, background, signal_efficiency=0.5)
    assert cut.background_efficiency == 0.0
    assert cut.background_efficiency_error > 0.0
    assert np.isnan(cut.rejection)
    assert metrics.roc_curve(signal, background).auc == pytest.approx(1.0)


def test_efficiency_is_flat_where_the_score_ignores_the_mass_and_not_where_it_leaks() -> None:
    points = (0.1, 0.5)
    flat, leaking = (
        metrics.efficiency_profile(gaussian_scores(1.0, leak=leak), background_efficiencies=points)[
            "plain"
        ]
        for leak in (0.0, 0.3)
    )
    assert flat.efficiency.shape == flat.efficiency_error.shape == (2, 50)
    for profile, close in ((flat, True), (leaking, False)):
        pulls = (profile.efficiency - np.array(points)[:, None]) / profile.efficiency_error
        # Chi-squared of 49 per point: mean 49, standard deviation 10.
        assert bool(np.all((pulls**2).sum(axis=1) < 49 + 4 * 10)) is close


def test_signal_efficiency_at_the_background_cut() -> None:
    profile = metrics.efficiency_profile(
        gaussian_scores(1.0), label="signal", background_efficiencies=(0.1586553,)
    )["plain"]
    # The cut sits one sigma above the background: half of the signal passes.
    spread = np.abs(profile.efficiency - 0.5) / profile.efficiency_error
    assert spread.max() < 5.0


def test_efficiency_needs_a_label_that_is_known() -> None:
    with pytest.raises(DataError, match="no efficiency for label 'unlabelled'"):
        metrics.efficiency_profile(gaussian_scores(1.0, rows=10), label="unlabelled")


def test_score_distribution_has_unit_area_and_all_jets() -> None:
    found = metrics.score_distribution(gaussian_scores(1.0, rows=5000), bins=20)["plain"]
    assert list(found) == ["background", "signal"]
    for one in found.values():
        assert one.density.sum() / 20 == pytest.approx(1.0)
        assert one.entries == 5000
        n = one.density * 5000 / 20
        assert one.density_error * 5000 / 20 == pytest.approx(np.sqrt(n))
