"""Figures of merit from ranks, against those of the rows themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest
from scipy.special import expit

from hepcalib import hists, metrics

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

ROWS = 30_000
EDGES = np.linspace(50.0, 300.0, 51)

KINDS: dict[str, Callable[[Floats], Floats]] = {
    "plain": expit,
    "DisCo": lambda a: 0.3 + 0.1 * expit(0.5 * a),
    "MoDe": lambda a: 0.43 + 1e-6 * np.tanh(0.3 * a),
    "adversary": lambda a: expit(8.0 * a + 9.0),
    "boosted": lambda a: np.round(expit(a), 1),
    "many trees": lambda a: np.round(expit(a) * 700.0) / 900.0,
    "stored": lambda a: (expit(a) ** 6).astype(np.float32).astype(np.float64),
}
WEIGHTS: dict[str, Callable[[np.random.Generator, int], Floats]] = {
    "one": lambda _, n: np.ones(n),
    "wide": lambda rng, n: rng.lognormal(0.0, 1.0, n),
    "signed": lambda rng, n: rng.uniform(0.5, 1.5, n) * np.where(rng.random(n) < 0.1, -1, 1),
}


class Jets(NamedTuple):
    label: Floats
    score: Floats
    mass: Floats
    weight: Floats


class Merit(NamedTuple):
    """What the rows give; equal scores are in no order: half below, and a share passes a cut."""

    auc: float
    rejection: float
    jsd: metrics.Jsd


def jets(kind: str, weights: str, *, seed: int = 71, rows: int = ROWS) -> Jets:
    rng = np.random.default_rng(seed)
    parts = []
    for label, mean in ((0.0, -0.8), (1.0, 0.8)):
        mass = 50.0 + np.minimum(rng.gamma(2.0, 40.0 - 15.0 * label, rows), 249.0)
        seen = 0.8 * np.exp(-0.5 * ((mass - 90.0) / 20.0) ** 2)
        score = KINDS[kind](rng.normal(mean, 1.0, rows) + seen)
        parts.append((np.full(rows, label), score, mass, WEIGHTS[weights](rng, rows)))
    return Jets(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def of_rows(given: Jets, efficiency: float = 0.5) -> Merit:
    """Return the figures of merit by sorting, without a histogram of the score."""
    s, b = (Jets(*(column[given.label == one] for column in given)) for one in (1.0, 0.0))
    order = np.argsort(b.score)
    below = np.concatenate([[0.0], np.cumsum(b.weight[order])])
    places = [np.searchsorted(b.score[order], s.score, side=side) for side in ("left", "right")]
    auc = s.weight @ (0.5 * (below[places[0]] + below[places[1]])) / s.weight.sum() / below[-1]
    values, at = np.unique(-s.score, return_inverse=True)
    above = np.cumsum(np.bincount(at, s.weight)) / s.weight.sum()
    first = int(np.argmax(above >= efficiency))
    before = max(above[:first].max(initial=0.0), 0.0)
    share = (efficiency - before) / (above[first] - before)
    passes = (b.score > -values[first]) + share * (b.score == -values[first])
    spectra = []
    for part in (passes, 1.0 - passes):
        sums = (np.histogram(b.mass, EDGES, weights=part * b.weight**n)[0] for n in (1, 2))
        spectra.append(metrics.Counts(*sums))
    return Merit(float(auc), b.weight.sum() / (b.weight @ passes), metrics.jsd(*spectra))


def of_ranks(
    given: Jets, *, part: slice, bins: int = 1000
) -> tuple[metrics.Roc, metrics.Decorrelation]:
    """Return the figures of merit, with ranks that a part of the rows gives."""
    ranks = hists.learn_ranks(
        {"t": given.score[part]}, label=given.label[part], weight=given.weight[part], bins=bins
    )
    return of_histogram(given, ranks)


def of_histogram(
    given: Jets, ranks: hists.Ranks | None
) -> tuple[metrics.Roc, metrics.Decorrelation]:
    filled = hists.score("mass", taggers=["t"], ranks=ranks)
    for label, place in (("background", 0.0), ("signal", 1.0)):
        rows = given.label == place
        hists.fill_score(
            filled,
            tagger="t",
            label=label,
            score=given.score[rows],
            values=given.mass[rows],
            weight=given.weight[rows],
            ranks=ranks,
        )
    return metrics.roc(filled)["t"], metrics.decorrelation(filled)["t"]


def misses(found: tuple[metrics.Roc, metrics.Decorrelation], exact: Merit) -> list[float]:
    """Return how far AUC, R50 and 1/JSD are off, in what is allowed."""
    curve, merit = found
    return [
        abs(curve.auc - exact.auc) / 1e-4,
        abs(merit.rejection.rejection - exact.rejection) / (0.1 * merit.rejection.rejection_error),
        abs(merit.jsd.one_over - exact.jsd.one_over) / (0.1 * exact.jsd.one_over_error),
    ]


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("kind", KINDS)
def test_ranks_of_all_jets_give_what_the_rows_give(kind: str, weights: str) -> None:
    given = jets(kind, weights)
    exact = of_rows(given)
    assert max(misses(of_ranks(given, part=slice(None), bins=500), exact)) < 1.0


@pytest.mark.parametrize("kind", KINDS)
def test_ranks_of_a_fifth_of_many_jets_do_too(kind: str) -> None:
    given = jets(kind, "one", seed=72, rows=100_000)
    found = of_ranks(given, part=slice(None, None, 5))
    assert max(misses(found, of_rows(given))) < 1.0


def test_any_few_jets_are_resolved() -> None:
    for rows in (3, 30, 400, 1000, 4000):
        given = jets("plain", "one", seed=75, rows=rows)
        curve, _ = of_ranks(given, part=slice(None))
        assert curve.auc == pytest.approx(of_rows(given).auc, abs=1e-4)


@pytest.mark.parametrize("kind", ["MoDe", "adversary"])
def test_bins_of_the_score_do_not(kind: str) -> None:
    given = jets(kind, "one")
    wrong = misses(of_histogram(given, None), of_rows(given))
    assert min(wrong[:2]) > 50.0
    assert not wrong[2] < 50.0  # or there is none at all


def test_the_rows_say_the_same_of_two_normal_distributions() -> None:
    """The oracle itself: without mass, R50 and AUC of N(1, 1) and N(0, 1) are known."""
    rng = np.random.default_rng(73)
    label = np.repeat([0.0, 1.0], ROWS)
    score, weight = expit(rng.normal(label, 1.0)), np.ones(2 * ROWS)
    found = of_rows(Jets(label, score, rng.uniform(50.0, 300.0, 2 * ROWS), weight))
    assert found.auc == pytest.approx(0.76025, abs=4 * 0.0019)
    assert found.rejection == pytest.approx(6.303, abs=4 * 0.09)


def test_a_share_of_equal_scores_passes() -> None:
    label = np.array([0.0] * 4 + [1.0] * 4)
    score = np.array([0.1, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.9])
    given = Jets(label, score, np.full(8, 100.0), np.ones(8))
    curve, merit = of_ranks(given, part=slice(None))
    # Of the three signal jets with 0.5 a third passes, so of the three background jets as well.
    assert merit.rejection.background_efficiency == pytest.approx(0.25)
    assert curve.auc == pytest.approx((1.0 + 3.0 * (0.25 + 0.375)) / 4.0)


def test_the_distance_correlation_is_that_of_the_ranks() -> None:
    """Against pairs of rows: O(n^2) and without bins of the score."""
    given = jets("plain", "one", seed=74)
    part = Jets(*(column[: ROWS // 20] for column in given))
    rank = np.argsort(np.argsort(part.score)) / part.score.size
    middle = EDGES[np.digitize(part.mass, EDGES) - 1] + 2.5
    centred = []
    for x in (rank, middle):
        distances = np.abs(x[:, None] - x[None, :])
        mean = distances.mean(axis=0)
        centred.append(distances - mean[:, None] - mean[None, :] + mean.mean())
    cross, one, two = (
        np.mean(a * b) for a, b in ((centred[0], centred[1]), (centred[0],) * 2, (centred[1],) * 2)
    )
    ranks = hists.learn_ranks({"t": part.score}, label=part.label, bins=2000)
    filled = hists.score("mass", taggers=["t"], ranks=ranks)
    for label in ("background", "signal"):
        hists.fill_score(
            filled, tagger="t", label=label, score=part.score, values=part.mass, ranks=ranks
        )
    found = metrics.decorrelation_merits(filled, replicas=5)["t"].correlation
    assert found.biased == pytest.approx(cross / np.sqrt(one * two), rel=1e-3)


def test_heavy_jets_of_a_small_class_do_not_bias_the_area() -> None:
    """A jet that carries the sum of weights over a level tends to be a heavy one."""
    misses_ = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        label = np.concatenate([np.ones(1500), np.zeros(10_000)])
        score, weight = rng.normal(1.3 * label, 1.0), rng.lognormal(0.0, 1.0, label.size)
        given = Jets(label, expit(score), np.full(label.size, 80.0), weight)
        curve, _ = of_ranks(given, part=slice(None))
        misses_.append(curve.auc - of_rows(given).auc)
    assert np.abs(misses_).max() < 1e-4
    assert abs(np.mean(misses_)) < 4.0 * np.std(misses_, ddof=1) / np.sqrt(12)
