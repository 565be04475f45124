"""A decorrelation from what only a simulation knows is warned of, any other is not."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import pytest

from hepcalib.exceptions import ScopeWarning
from hepcalib.ntuples.columns import STANDARD
from hepcalib.pipeline.checks import check
from hepcalib.pipeline.scope import SIMULATED_ONLY, warn_of_scope

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hepcalib.config import Loaded

MEASURED = {"mass", "softdrop_mass", "trimmed_mass", "pt", "eta", "mu", "n_pv", "rho", "energy"}


def sections(column: str, way: str) -> dict[str, Any]:
    """A tagger that is decorrelated from a column in one of the ways."""
    model: dict[str, Any] = {
        "kind": "tagger",
        "object": "jet",
        "datasets": ["train"],
        "inputs": {"features": ["jet.eta"]},
        "network": {"name": "MLP", "hidden": [4], "head": {"name": "BernoulliHead"}},
    }
    after = {"score": "tagger", "method": "conditional_flow", "datasets": ["train"]}
    changes: dict[str, dict[str, Any]] = {
        "penalty": {"penalty": {"name": "distance_correlation", "nuisance": column, "strength": 1}},
        "planing": {"planing": {"variables": {column: 4}}},
        "uniform_in": {
            "uniform_in": [column],
            "network": {"name": "BoostedTrees", "head": {"name": "BernoulliHead"}},
        },
    }
    found = {"tagger": model | changes.get(way, {})}
    made = {"after": {**after, "variables": [column]}} if way == "after" else {}
    return {"models": found, "decorrelators": made}


@pytest.fixture
def tagger(
    loaded: Callable[..., Loaded], jet_file: Callable[..., Path], tmp_path: Path
) -> Callable[[str, str], Loaded]:
    files = [str(jet_file(tmp_path / "a.root"))]

    def load(column: str, way: str) -> Loaded:
        datasets = {"train": {"files": files, "layout": "flat_jets"}}
        return loaded(datasets=datasets, **sections(column, way))

    return load


WAYS = {
    "penalty": "models.tagger.penalty",
    "planing": "models.tagger.planing",
    "uniform_in": "models.tagger.uniform_in",
    "after": "decorrelators.after",
}


@pytest.mark.parametrize("way", WAYS)
def test_what_only_a_simulation_knows_is_warned_of(
    tagger: Callable[[str, str], Loaded], way: str
) -> None:
    wanted = rf"{WAYS[way]}: nuisance 'weight' exists in simulation only\. .*2109\.08159"
    with pytest.warns(ScopeWarning, match=wanted):
        check(tagger("weight", way))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("column", ["mass", "mu"])
def test_what_is_measured_is_not(
    tagger: Callable[[str, str], Loaded], way: str, column: str
) -> None:
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        check(tagger(column, way))
    assert not found


def test_a_bundle_has_no_nuisance(
    loaded: Callable[..., Loaded], bundle: Callable[..., Path], tmp_path: Path
) -> None:
    path = str(bundle(tmp_path / "there", model="tagger"))
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        warn_of_scope(loaded(models={"there": {"bundle": path}}))
    assert not found


def test_which_columns_are_meant() -> None:
    known = {name for columns in STANDARD.values() for name in columns}
    assert known >= SIMULATED_ONLY
    assert not SIMULATED_ONLY & MEASURED
    assert {"weight", "label", "gen_pt", "gen_mass", "true_energy"} <= SIMULATED_ONLY
