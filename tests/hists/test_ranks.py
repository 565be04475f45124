from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy.special import expit, logit

from hepcalib import hists
from hepcalib.exceptions import ConfigError, DataError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

ROWS = 20_000
MAPS: dict[str, Callable[[Floats], Floats]] = {
    "pushed together": lambda x: 0.4 + 1e-6 * x,
    "fifth power": lambda x: x**5,
    "steeper": lambda x: expit(3.0 * logit(x) + 1.0),
    "ranks": lambda x: np.unique(x, return_inverse=True)[1] / x.size,
}


def sample(seed: int = 61) -> tuple[Floats, Floats]:
    """Scores that differ by 1e-4 at least, so that the maps keep them apart."""
    rng = np.random.default_rng(seed)
    label = np.repeat([0.0, 1.0], ROWS // 2)
    score = expit(rng.normal(2.0 * label - 1.0, 1.0))
    return np.clip(np.round(score, 4), 1e-4, 1.0 - 1e-4), label


@pytest.mark.parametrize("name", MAPS)
def test_a_monotone_map_changes_no_bin(name: str) -> None:
    score, label = sample()
    mapped = MAPS[name](score)
    assert np.all((mapped >= 0.0) & (mapped <= 1.0))
    part = slice(None, None, 7)  # the others are not known when the bins are made
    one = hists.learn_ranks({"t": score[part]}, label=label[part])
    two = hists.learn_ranks({"t": mapped[part]}, label=label[part])
    np.testing.assert_array_equal(one.places("t", score), two.places("t", mapped))
    old = hists.score("mass", taggers=["t"]).axes["score"]
    assert np.mean(old.index(score) != old.index(mapped)) > 0.5  # what bins of the score do


@pytest.mark.parametrize("bins", [400, 500, 1000])
def test_no_share_of_a_class_is_lumped(bins: int) -> None:
    score, label = sample()
    rng = np.random.default_rng(62)
    score = score + rng.uniform(0.0, 1e-5, ROWS)
    ranks = hists.learn_ranks({"t": score}, label=label, bins=bins)
    places = ranks.places("t", score)
    assert places.min() >= 0.5
    assert places.max() <= bins - 0.5
    steps = 2.4 / (0.75 * bins / 2 - 6)  # of the even part, as if nothing were rounded
    for one in (0.0, 1.0):
        inside = np.bincount(places[label == one].astype(int)) / (ROWS // 2)
        above = np.cumsum(inside[::-1])[::-1]
        assert inside.max() < 1.2 * steps
        high = (above < 0.2) & (above > 0.01)
        assert np.all(inside[high] < 6.0 * steps * above[high] + 2.0 / ROWS)


def test_usual_cuts_are_edges() -> None:
    score, label = sample()
    score = score + np.random.default_rng(63).uniform(0.0, 1e-5, ROWS)
    ranks = hists.learn_ranks({"t": score}, label=label, bins=500)
    places = ranks.places("t", score)[label == 1.0]
    for efficiency in (0.5, 0.3, 0.1, 0.05, 0.02, 0.01):
        cut = np.sort(score[label == 1.0])[::-1][int(efficiency * ROWS / 2) - 1]
        first = ranks.places("t", cut)
        assert (places >= first).mean() == pytest.approx(efficiency, abs=1e-12)


def test_many_equal_scores_have_a_bin_of_their_own() -> None:
    rng = np.random.default_rng(64)
    score = rng.uniform(size=ROWS)
    score[: ROWS // 10] = 0.4
    ranks = hists.learn_ranks({"t": score}, label=np.zeros(ROWS))
    inside = ranks.places("t", score) == ranks.places("t", [0.4])[0]
    assert np.all(score[inside] == 0.4)
    few = np.round(score, 2)
    ranks = hists.learn_ranks({"t": few}, label=np.zeros(ROWS))
    assert np.unique(ranks.places("t", few)).size == np.unique(few).size


def test_weights_of_any_sign_and_size_make_the_bins() -> None:
    score, label = sample()
    rng = np.random.default_rng(65)
    weight = rng.lognormal(0.0, 2.0, ROWS) * np.where(rng.random(ROWS) < 0.2, -1.0, 1.0)
    ranks = hists.learn_ranks({"t": score}, label=label, weight=weight, bins=500)
    places = ranks.places("t", score).astype(int)
    one = label == 0.0
    inside = np.bincount(places[one], np.abs(weight[one])) / np.abs(weight[one]).sum()
    assert inside.max() < 1.2 * 2.4 / 181 + np.abs(weight).max() / np.abs(weight[one]).sum()


def test_an_empty_sample_has_one_bin() -> None:
    ranks = hists.learn_ranks({"t": []}, label=[], weight=[])
    assert ranks.places("t", [0.0, 1.0]).tolist() == [0.5, 0.5]
    nothing = hists.learn_ranks(
        {"t": np.linspace(0, 1, 2000)}, label=np.zeros(2000), weight=0 * np.ones(2000)
    )
    assert nothing.places("t", [0.2]).size == 1


def test_histograms_of_other_ranks_neither_add_nor_fill() -> None:
    score, label = sample()
    one, two = (
        hists.learn_ranks({"t": score[s]}, label=label[s]) for s in (slice(None), slice(0, None, 2))
    )
    first, second = (hists.score("mass", taggers=["t"], ranks=ranks) for ranks in (one, two))
    with pytest.raises(ValueError, match="axes not mergable"):
        first + second
    given: dict[str, Any] = {"tagger": "t", "label": "signal", "score": [0.5], "values": [80.0]}
    for ranks in (two, None):
        with pytest.raises(DataError, match="the ranks that it was made for"):
            hists.fill_score(first, ranks=ranks, **given)
    again = hists.from_json(hists.to_json({"h": first}))["h"]
    hists.fill_score(again, ranks=one, **given)
    assert (first + again).values().sum() == 1.0


def test_what_cannot_be_ranked_is_refused() -> None:
    ranks = hists.learn_ranks({"t": [0.1, 0.2]}, label=[0, 1])
    with pytest.raises(DataError, match=r"tagger 't': column 'score': 1 of 2 values are NaN"):
        ranks.places("t", [0.1, np.nan])
    with pytest.raises(DataError, match=r"1 of 2 values are NaN, the first in row 1"):
        hists.learn_ranks({"t": [0.1, np.nan]}, label=[0, 1])
    with pytest.raises(DataError, match="no ranks of tagger 'u'"):
        ranks.places("u", [0.1])
    with pytest.raises(ShapeError, match=r"\(2,\) scores, \(1,\) labels"):
        hists.learn_ranks({"t": [0.1, 0.2]}, label=[0])
    with pytest.raises(ConfigError, match="100 bins for 1 classes; needed: at least 130"):
        hists.learn_ranks({"t": [0.1]}, label=[0], bins=100)


@pytest.mark.parametrize("classes", [1, 2, 3, 7])
def test_no_jet_is_beyond_the_last_bin(classes: int) -> None:
    rng = np.random.default_rng(66)
    score, label = rng.uniform(size=ROWS), rng.integers(classes, size=ROWS)
    score[: ROWS // 3] = np.round(score[: ROWS // 3], 1)
    ranks = hists.learn_ranks({"t": score}, label=label, bins=130 * classes)
    assert ranks.places("t", score).max() < 130 * classes
