from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hepcalib import hists, metrics


def test_names_of_trainings_are_understood_again() -> None:
    names = [
        metrics.training_name("plain"),
        metrics.training_name("DisCo", kind="strength", value=100.0),
        metrics.training_name("DisCo", kind="strength", value=2.5),
        metrics.training_name("MoDe[1], wide", kind="seed", value=2),
        metrics.training_name("MoDe[1], wide", kind="seed", value=1),
        metrics.training_name("tiny", kind="strength", value=1e-12),
        "odd, strength high",
    ]
    found = metrics.methods(names)
    assert list(found) == ["plain", "DisCo", "MoDe[1], wide", "tiny", "odd, strength high"]
    assert found["plain"] == metrics.Method("plain", "single", (), ("plain",))
    assert found["DisCo"].values == (2.5, 100.0)
    assert found["DisCo"].representative == "DisCo, strength 100"
    assert found["MoDe[1], wide"].representative == "MoDe[1], wide, seed 1"
    assert found["tiny"].values == (1e-12,)
    assert found["odd, strength high"].kind == "single"


def test_spread_over_seeds() -> None:
    rng = np.random.default_rng(121)
    names = [metrics.training_name("a", kind="seed", value=seed) for seed in (1, 2, 3)]
    names += ["b", *(metrics.training_name("c", kind="strength", value=v) for v in (1, 2))]
    filled: Any = hists.score("mass", taggers=names)
    for name in names:
        for label, power in (("background", 1.0), ("signal", 0.3)):
            hists.fill_score(
                filled,
                tagger=name,
                label=label,
                score=rng.uniform(size=2000) ** power,
                values=rng.uniform(50, 300, 2000),
            )
    merits = metrics.decorrelation_merits(filled, replicas=20)
    spreads = metrics.seed_spreads(merits)
    assert list(spreads) == ["a"]
    found, values = spreads["a"], [merits[name].rejections[0].rejection for name in names[:3]]
    assert found.seeds == 3
    assert found.rejections[0] == pytest.approx(np.mean(values))
    assert found.rejection_spreads[0] == pytest.approx(np.std(values, ddof=1))
    divergences = [merits[name].jsd.one_over for name in names[:3]]
    assert found.one_over_jsd == pytest.approx(np.mean(divergences))
    assert found.one_over_jsd_spread == pytest.approx(np.std(divergences, ddof=1))
