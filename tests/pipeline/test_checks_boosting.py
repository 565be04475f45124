"""Boosted trees are refused where they cannot be fitted, or would not be what is asked for."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from hepcalib.exceptions import ConfigError
from hepcalib.pipeline.checks import check
from hepcalib.pipeline.training import ensure_bundle, is_up_to_date

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hepcalib.config import Loaded

    Tagger = Callable[..., Loaded]

HEAD = {"name": "BernoulliHead"}
TREES: dict[str, Any] = {"name": "BoostedTrees", "method": "uniform", "trees": 2, "head": HEAD}
PLAIN = {**TREES, "method": "plain"}
NETWORK = {"name": "MLP", "hidden": [4], "head": HEAD}
ENSEMBLE = {"name": "DeepEnsemble", "members": 2, "model": TREES}
PENALTY = {"name": "distance_correlation", "nuisance": "mass", "strength": 1.0}


def refusal(loaded: Loaded) -> str | None:
    """Return why the check refuses a configuration, None where it does not."""
    try:
        check(loaded)
    except ConfigError as error:
        return str(error)
    return None


@pytest.fixture
def tagger(loaded: Callable[..., Loaded], jet_file: Callable[..., Path], tmp_path: Path) -> Tagger:
    """Load a tagger of uniform trees, some of whose keys are others."""
    files = [str(jet_file(tmp_path / "a.root", counts=[2, 1, 3] * 20))]

    def load(**changes: Any) -> Loaded:
        model: dict[str, Any] = {
            "kind": "tagger",
            "object": "jet",
            "datasets": ["train"],
            "inputs": {"features": ["jet.eta"]},
            "network": TREES,
            "uniform_in": ["mass"],
            "training": {"epochs": 1},
        }
        datasets = {"train": {"files": files, "layout": "flat_jets"}}
        return loaded(datasets=datasets, models={"tagger": {**model, **changes}})

    return load


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": NETWORK}, "uniform_in with MLP; it is for BoostedTrees, others: penalty"),
        ({"penalty": PENALTY}, "BoostedTrees with a penalty: descent does not change trees"),
        ({"network": ENSEMBLE}, "DeepEnsemble: BoostedTrees has its own finish"),
        ({"uniform_in": []}, "BoostedTrees, method uniform: give uniform_in"),
        ({"network": PLAIN}, "BoostedTrees, method plain: plain trees are uniform in nothing"),
    ],
)
def test_what_boosting_cannot_do_is_refused(
    tagger: Tagger, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=rf"models\.tagger\.network: {message}"):
        check(tagger(**changes))


@pytest.mark.parametrize("changes", [{}, {"network": PLAIN, "uniform_in": []}])
def test_what_it_can_do_is_not(tagger: Tagger, changes: dict[str, Any]) -> None:
    """The control of the test above, and of the next."""
    assert refusal(tagger(**changes)) is None


def test_trees_without_hep_ml_are_refused(tagger: Tagger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hep_ml", None)
    assert "models.tagger.network: " in (message := refusal(tagger()) or "")
    assert "install hepcalib[boosting]" in message
    assert refusal(tagger(network=NETWORK, uniform_in=[])) is None


def test_fitted_trees_do_not_need_it(tagger: Tagger, monkeypatch: pytest.MonkeyPatch) -> None:
    trees = tagger()
    ensure_bundle(trees, "tagger")
    monkeypatch.setitem(sys.modules, "hep_ml", None)
    assert is_up_to_date(trees, "tagger")
    assert refusal(trees) is None
    assert (
        refusal(tagger(training={"epochs": 1, "seed": 1})) is not None
    )  # the control: trees that are yet to be fitted
