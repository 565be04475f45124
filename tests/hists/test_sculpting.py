from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hepcalib import hists
from hepcalib.exceptions import ConfigError, DataError

EDGES = (200.0, 300.0, 500.0)


def test_projections_are_those_of_the_scores() -> None:
    rng = np.random.default_rng(131)
    score, mass = rng.uniform(size=500), rng.uniform(30.0, 350.0, 500)
    pt, weight = rng.uniform(100.0, 700.0, 500), rng.normal(1.0, 1.0, 500)
    given: dict[str, Any] = {"tagger": "b", "score": score, "weight": weight}
    ranks = hists.learn_ranks({"b": score}, label=np.zeros(500), weight=weight)
    filled = hists.sculpting("pt", taggers=["a", "b"], edges=EDGES, ranks=ranks)
    hists.fill_sculpting(filled, mass=mass, values=pt, ranks=ranks, **given)
    plain = hists.score("mass", taggers=["b"], ranks=ranks)
    hists.fill_score(plain, label="background", values=mass, ranks=ranks, **given)
    together = np.asarray(filled.values(flow=True))
    assert together[0].sum() == 0.0
    np.testing.assert_allclose(
        together[1].sum(axis=2), np.asarray(plain.values(flow=True))[0, 0], atol=1e-12
    )
    expected, _ = np.histogram(pt, EDGES, weights=weight)
    np.testing.assert_allclose(together[1].sum(axis=(0, 1))[1:-1], expected, atol=1e-12)


def test_a_tagger_needs_little_memory() -> None:
    ranks = hists.learn_ranks({"a": [0.5]}, label=[0], bins=500)
    filled = hists.sculpting("pt", taggers=["a"], edges=EDGES, ranks=ranks)
    bins = len(EDGES) - 1 + 2
    assert filled.view(flow=True).nbytes / bins < 0.42e6


@pytest.mark.parametrize("edges", [(1.0,), (2.0, 1.0), (1.0, 1.0), ((1.0, 2.0), (3.0, 4.0))])
def test_edges_must_rise(edges: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match=r"bins of 'pt': edges .* in ascending order"):
        hists.sculpting("pt", taggers=["a"], edges=edges)


def test_scores_outside_are_refused() -> None:
    filled = hists.sculpting("mu", taggers=["a"])
    with pytest.raises(DataError, match=r"tagger 'a': score 1.5 in row 0 is outside"):
        hists.fill_sculpting(filled, tagger="a", score=[1.5], mass=[80.0], values=[20.0])
