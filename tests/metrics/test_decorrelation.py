from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from hepcalib import hists, metrics
from hepcalib.exceptions import ShapeError
from hepcalib.metrics import Counts

if TYPE_CHECKING:
    from hist import Hist

    from hepcalib.metrics.counts import Floats

BINS = 50
FALLING: Floats = np.exp(-np.arange(BINS) / 25.0)
FALLING /= FALLING.sum()


def plain(values: Any) -> Counts:
    return Counts(np.asarray(values, dtype=float), np.asarray(values, dtype=float))


def test_identical_samples_have_no_divergence_and_disjoint_ones_a_bit() -> None:
    same = metrics.jsd(plain([3.0, 5.0, 2.0]), plain([6.0, 10.0, 4.0]))
    assert same.jsd == pytest.approx(0.0, abs=1e-15)
    apart = metrics.jsd(plain([3.0, 0.0]), plain([0.0, 7.0]))
    assert apart.jsd == pytest.approx(1.0, abs=1e-12)
    assert apart.one_over == pytest.approx(1.0, abs=1e-12)


def test_divergence_of_a_worked_case() -> None:
    # P = (1, 0), F = (1/2, 1/2), Q = (3/4, 1/4).
    exact = 0.5 * np.log2(4 / 3) + 0.5 * (0.5 * np.log2(2 / 3) + 0.5 * np.log2(2.0))
    assert metrics.jsd(plain([4.0, 0.0]), plain([2.0, 2.0])).jsd == pytest.approx(exact)


def test_limit_is_that_of_independent_samples() -> None:
    assert metrics.jsd_limit(plain(np.full(50, 100.0)), plain(np.full(50, 900.0))) == (
        pytest.approx(1.964e-3, rel=3e-4)
    )
    rng = np.random.default_rng(51)
    trials = 300
    found = [
        metrics.jsd(plain(rng.multinomial(5000, FALLING)), plain(rng.multinomial(45_000, FALLING)))
        for _ in range(trials)
    ]
    values = np.array([one.jsd for one in found])
    # JSD is L chi^2 / (B - 1): spread L sqrt(2 / (B - 1)). Higher orders: 1 / n per bin, below 2 %.
    spread = 1.964e-3 * np.sqrt(2.0 / (BINS - 1))
    assert values.mean() == pytest.approx(1.964e-3, abs=4 * spread / trials**0.5 + 0.02 * 1.964e-3)
    assert values.std() == pytest.approx(spread, rel=4.0 / np.sqrt(2 * trials) + 0.02)
    # A sample with more than L could have a divergence of its own: its variance is 2 JSD - L over L
    # times that of the noise, and no sample has less than the noise.
    expected = spread * np.sqrt(np.maximum(2.0 * values / 1.964e-3 - 1.0, 1.0)).mean()
    errors = np.mean([one.jsd_error for one in found])
    assert errors == pytest.approx(expected, rel=4.0 / np.sqrt(2 * 300))  # of the replicas


def test_limit_does_not_hide_a_true_difference() -> None:
    rng = np.random.default_rng(52)
    tilted = FALLING * (1.0 + 0.3 * np.sin(np.arange(BINS) / 6.0))
    tilted /= tilted.sum()
    found = metrics.jsd(
        plain(rng.multinomial(5000, tilted)), plain(rng.multinomial(45_000, FALLING))
    )
    assert found.jsd - found.limit > 4.0 * found.jsd_error


def test_error_of_a_true_difference_is_its_spread() -> None:
    rng = np.random.default_rng(53)
    tilted = FALLING * (1.0 + 0.3 * np.sin(np.arange(BINS) / 6.0))
    tilted /= tilted.sum()
    trials = 300
    found = [
        metrics.jsd(plain(rng.multinomial(5000, tilted)), plain(rng.multinomial(45_000, FALLING)))
        for _ in range(trials)
    ]
    spread = float(np.std([one.jsd for one in found]))
    assert np.mean([one.jsd_error for one in found]) == pytest.approx(
        spread, rel=4.0 / np.sqrt(2 * trials)
    )


def test_limit_counts_effective_entries_and_populated_bins() -> None:
    weighted = Counts(np.array([50.0, 50.0, 0.0]), np.array([100.0, 100.0, 0.0]))
    expected = 1.0 / (8.0 * np.log(2.0)) * (1.0 / 50.0 + 1.0 / 100.0)
    found = metrics.jsd(weighted, plain([50.0, 50.0, 0.0]))
    assert found.bins == 2
    assert found.limit == pytest.approx(expected)
    assert found.one_over_limit == pytest.approx(1.0 / expected)


@pytest.mark.parametrize("empty", [[0.0, 0.0], [1.0, -2.0]])
def test_without_entries_there_is_no_divergence(empty: list[float]) -> None:
    found = metrics.jsd(Counts(np.array(empty), np.abs(empty)), plain([1.0, 2.0]))
    assert np.isnan([found.jsd, found.jsd_error, found.one_over, found.limit]).all()


def test_samples_must_have_the_same_bins() -> None:
    with pytest.raises(ShapeError, match=r"\(2,\) and \(3,\) bins"):
        metrics.jsd(plain([1.0, 2.0]), plain([1.0, 2.0, 3.0]))


def scores(leak: float, *, rows: int = 40_000) -> Hist[Any]:
    rng = np.random.default_rng(54)
    filled = hists.score("mass", taggers=["plain", "unused"])
    for label, mean in (("signal", 1.0), ("background", -1.0)):
        mass = 40.0 + rng.exponential(60.0, rows)
        logit = rng.normal(mean, 1.5, rows) + leak * np.exp(-0.5 * ((mass - 80.0) / 15.0) ** 2)
        hists.fill_score(
            filled, tagger="plain", label=label, score=1 / (1 + np.exp(-logit)), values=mass
        )
    return filled


def test_independent_scores_reach_the_limit_and_leaking_ones_do_not() -> None:
    independent, leaking = (metrics.decorrelation(scores(leak))["plain"] for leak in (0.0, 1.0))
    # L chi^2_49 / 49: four standard deviations of the chi-squared.
    assert independent.jsd.jsd < independent.jsd.limit * (1.0 + 4.0 * np.sqrt(2.0 / 49.0))
    assert leaking.jsd.jsd > 5.0 * leaking.jsd.limit
    assert independent.rejection == metrics.rejection(scores(0.0))["plain"]


def test_mass_split_shares_the_jets_of_the_range() -> None:
    filled = scores(1.0)
    split = metrics.mass_split(filled)["plain"]
    width, share = np.diff(split.edges), split.background_efficiency
    for density in (split.inclusive, split.passed, split.failed):
        assert density @ width == pytest.approx(1.0)
    assert share * split.passed + (1.0 - share) * split.failed == pytest.approx(split.inclusive)
    assert split.passed_ratio * split.inclusive == pytest.approx(split.passed)
    assert split.failed_ratio * split.inclusive == pytest.approx(split.failed)
    assert split.passed_ratio[6] > 1.0 + 5.0 * split.passed_ratio_error[6]  # 80-85 GeV
    assert np.all(split.passed_error > 0.0)


def test_taggers_without_jets_are_nan() -> None:
    filled = scores(0.0, rows=100)
    split, found = (
        metrics.mass_split(filled)["unused"],
        metrics.decorrelation(filled)["unused"],
    )
    assert np.isnan(split.inclusive).all()
    assert np.isnan(split.passed_ratio).all()
    assert np.isnan([found.jsd.jsd, found.rejection.rejection]).all()


def test_without_signal_there_is_no_cut() -> None:
    filled = hists.score("mass", taggers=["plain"])
    hists.fill_score(
        filled, tagger="plain", label="background", score=[0.5] * 20, values=[100.0] * 20
    )
    split = metrics.mass_split(filled)["plain"]
    assert split.inclusive.max() == pytest.approx(0.2)
    assert np.isnan(split.passed).all()
    assert np.isnan(metrics.decorrelation(filled)["plain"].jsd.jsd)
