"""Decorrelators of a configuration: what is refused, what is fitted, and what is written."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import correctionlib
import numpy as np
import pytest

from hepcalib import ntuples
from hepcalib.exceptions import ConfigError, DataError
from hepcalib.inference import tag
from hepcalib.pipeline.checks import check
from hepcalib.pipeline.decorrelators import (
    decorrelated_tagger,
    decorrelator_path,
    ensure_decorrelator,
    is_learnt,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hepcalib.config import Loaded

NETWORK = {"name": "MLP", "hidden": [4], "head": {"name": "BernoulliHead"}}
TAGGER: dict[str, Any] = {
    "kind": "tagger",
    "object": "jet",
    "datasets": ["train"],
    "inputs": {"features": ["jet.eta"]},
    "network": NETWORK,
}
RESPONSE = TAGGER | {"kind": "response", "network": {**NETWORK, "head": {"name": "NormalHead"}}}
PENALTY = {"name": "adversary", "nuisance": "softdrop_mass", "strength": 1.0}
FLAT: dict[str, Any] = {
    "score": "trimmed_mass",
    "method": "fixed_efficiency",
    "datasets": ["train"],
    "variables": ["softdrop_mass"],
    "options": {"bins": 4, "minimum_entries": 5, "efficiency": 0.3},
}


@pytest.fixture
def study(loaded: Callable[..., Loaded], jet_file: Callable[..., Path], tmp_path: Path) -> Any:
    files = [str(jet_file(tmp_path / "a.root", counts=[2, 3] * 150))]

    def load(**sections: Any) -> Loaded:
        datasets = {"train": {"files": files, "layout": "flat_jets"}}
        return loaded(datasets={**datasets, **sections.pop("datasets", {})}, **sections)

    return load


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (RESPONSE | {"penalty": PENALTY}, "a.penalty: a penalty is for taggers"),
        (RESPONSE | {"planing": {"variables": {"pt": 4}}}, "a.planing: planing is for taggers"),
        (
            TAGGER | {"penalty": {**PENALTY, "nuisance": "constituents.pt"}},
            "a.penalty.nuisance: .* no column 'constituents.pt' with one value per jet. Known: ",
        ),
        (
            TAGGER | {"penalty": {**PENALTY, "auxiliary": ["ptt"]}},
            "a.penalty.auxiliary: .* no column 'ptt' with one value per jet",
        ),
        (
            TAGGER | {"planing": {"variables": {"constituents.eta": 4}}},
            "a.planing.variables: .* no column 'constituents.eta'",
        ),
    ],
)
def test_models_that_cannot_be_decorrelated_so(study: Any, model: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check(study(models={"a": model}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "design"}, "flat.method: unknown method 'design'. Known: conditional_flow"),
        ({"options": {"bin": 3}}, "flat.options.bin: fixed_efficiency has no option 'bin'"),
        ({"variables": ["constituents.pt"]}, "flat.variables: .* with one value per jet"),
        ({"score": "taggr"}, "flat.score: neither a model nor a column of layout 'flat_jets'"),
        ({"score": "taggr"}, "Did you mean 'tagger'"),
        ({"score": "response"}, "'response' is a response model; a decorrelator needs a tagger"),
        ({"datasets": ["clusters"]}, "'clusters' holds clusters; a decorrelator is for jets"),
    ],
)
def test_what_is_no_decorrelator_is_refused(
    study: Any,
    cluster_file: Callable[..., Path],
    tmp_path: Path,
    changes: dict[str, Any],
    message: str,
) -> None:
    clusters = {"files": [str(cluster_file(tmp_path / "c.root"))], "layout": "cluster_tree"}
    models = {"tagger": TAGGER, "response": RESPONSE}
    for wanted in (FLAT, FLAT | changes):
        declared = study(
            models=models, datasets={"clusters": clusters}, decorrelators={"flat": wanted}
        )
        if wanted == FLAT:
            check(declared)
        else:
            with pytest.raises(ConfigError, match=message):
                check(declared)


def test_a_column_is_decorrelated_for_the_background(study: Any) -> None:
    loaded = study(decorrelators={"flat": FLAT})
    assert not is_learnt(loaded, "flat")
    path = ensure_decorrelator(loaded, "flat")
    assert is_learnt(loaded, "flat")
    assert path == decorrelator_path(loaded, "flat") == ensure_decorrelator(loaded, "flat")
    jets = ntuples.read(loaded.config.datasets["train"].files[0], "flat_jets")
    answer = tag(decorrelated_tagger(loaded, "flat"), jets)
    label = np.asarray([x for row in jets["label"].to_list() for x in row])
    score = np.asarray([x for row in answer["score"].to_list() for x in row])
    background = label == 0
    assert json.loads(path.read_text())["provenance"]["jets"] == background.sum()
    # the efficiency of the background that it was fitted to, to a jet
    assert (score[background] > 0.7).mean() == pytest.approx(0.3, abs=1.5 / background.sum())
    other = study(decorrelators={"flat": FLAT | {"pt_range": [200, 400]}})
    assert decorrelator_path(other, "flat") != path


def test_the_table_beside_it_is_the_decorrelator(study: Any) -> None:
    options = {"epochs": 2, "hidden": [4]}
    loaded = study(
        decorrelators={"flat": FLAT | {"method": "conditional_flow", "options": options}}
    )
    path = ensure_decorrelator(loaded, "flat")
    table = correctionlib.CorrectionSet.from_file(str(path.with_suffix(".correction.json")))["flat"]
    jets = ntuples.read(loaded.config.datasets["train"].files[0], "flat_jets")
    answer = tag(decorrelated_tagger(loaded, "flat"), jets)
    columns = [
        np.asarray([x for row in array.to_list() for x in row], dtype=np.float64)
        for array in (jets["label"], jets["trimmed_mass"], jets["softdrop_mass"], answer["score"])
    ]
    label, old, mass, new = (column[columns[0] == 0] for column in columns)
    assert len(label) > 100
    # nodes at each 50th of the background and 30 intervals of mass, and straight lines between
    assert table.evaluate(old, mass) == pytest.approx(new, abs=0.01)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"mass_range": [0, 1]}, "'flat' of 'trimmed_mass' on train: .*0 background jets"),
        ({"options": {"bins": 0}}, "'flat' of 'trimmed_mass' on train: .*bins 0"),
        ({"options": {"bins": "x"}}, "'flat' of 'trimmed_mass' on train: "),
    ],
)
def test_a_fit_that_fails_says_which(study: Any, changes: dict[str, Any], message: str) -> None:
    loaded = study(decorrelators={"flat": FLAT | changes})
    with pytest.raises((ConfigError, DataError), match=message):
        ensure_decorrelator(loaded, "flat")
    assert not is_learnt(loaded, "flat")
