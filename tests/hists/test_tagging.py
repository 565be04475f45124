from __future__ import annotations

import numpy as np
import pytest

from hepcalib import hists
from hepcalib.exceptions import DataError


def test_both_ends_of_the_score_are_inside() -> None:
    filled = hists.score("mass", taggers=["plain"])
    scores = np.array([0.0, 1.0, np.float32(1.0), 0.5])
    hists.fill_score(filled, tagger="plain", label="signal", score=scores, values=[100.0] * 4)
    assert filled.values().sum() == 4.0


def test_score_bins_resolve_the_middle_and_the_ends() -> None:
    edges = hists.score("mass", taggers=["plain"]).axes[2].edges
    assert np.all(np.diff(edges) > 0)
    assert np.diff(edges).max() < 0.0021
    logit = np.log(edges[1:-1] / (1.0 - edges[1:-1]))
    assert logit[0] < -13.9
    assert logit[-1] > 13.9
    outer = np.abs(logit[1:] + logit[:-1]) > 6.0
    assert np.diff(logit)[outer].max() < 0.0421


def test_histograms_stay_small() -> None:
    assert hists.score("mass", taggers=["plain", "disco"]).view(flow=True).nbytes < 30e6


@pytest.mark.parametrize("score", [-1e-9, 1.0 + 1e-9])
def test_scores_outside_are_refused(score: float) -> None:
    filled = hists.score("mu", taggers=["plain"])
    with pytest.raises(DataError, match=r"tagger 'plain': score .* in row 1 is outside"):
        hists.fill_score(
            filled, tagger="plain", label="signal", score=[0.5, score], values=[1.0, 2.0]
        )


def test_nan_scores_are_refused() -> None:
    filled = hists.score("mu", taggers=["plain"])
    with pytest.raises(DataError, match="column 'score'"):
        hists.fill_score(filled, tagger="plain", label="signal", score=[np.nan], values=[1.0])


@pytest.mark.parametrize(("tagger", "label"), [("plan", "signal"), ("plain", "sigal")])
def test_unknown_tagger_or_label_is_refused(tagger: str, label: str) -> None:
    filled = hists.score("mu", taggers=["plain"])
    with pytest.raises(DataError, match="Did you mean"):
        hists.fill_score(filled, tagger=tagger, label=label, score=[0.5], values=[1.0])
