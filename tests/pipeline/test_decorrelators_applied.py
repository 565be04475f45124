"""Decorrelators of a configuration: kept while nothing changes, and applied as taggers are."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import uproot
import yaml

from hepcalib import inference, ntuples
from hepcalib.config import load
from hepcalib.exceptions import BundleError, RunError
from hepcalib.pipeline import decorrelators
from hepcalib.pipeline.decorrelators import (
    decorrelated_tagger,
    decorrelator_path,
    ensure_decorrelator,
    is_learnt,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from click.testing import Result

    from hepcalib.config import Loaded

    Load = Callable[..., Loaded]
    Write = Callable[..., Path]

EVENTS = 300  # two jets each, the first of them background
CHEAP = {"epochs": 3, "hidden": [4], "learning_rate": 2e-2}
MEASURED = {"score": "trimmed_mass", "variables": ["softdrop_mass"], "method": "conditional_flow"}


def branches(events: int, *, seed: int) -> dict[str, Any]:
    """Two masses, of which one rises with the other."""
    random = np.random.default_rng(seed)
    groomed = random.uniform(50.0, 300.0, (events, 2))
    trimmed = 0.5 * groomed + random.normal(100.0, 20.0, (events, 2))
    masses = {"Jet_msoftdrop": groomed, "Jet_mtrimmed": trimmed}
    return {name: values.astype(np.float32) for name, values in masses.items()}


@pytest.fixture
def jets(jet_file: Write, tmp_path: Path) -> Callable[..., Path]:
    def write(name: str = "fit.root", *, seed: int = 1) -> Path:
        made = branches(EVENTS, seed=seed)
        return jet_file(tmp_path / name, counts=[2] * EVENTS, sizes=[1, 3] * EVENTS, **made)

    return write


@pytest.fixture
def declared(loaded: Load, bundle: Write, jets: Callable[..., Path], tmp_path: Path) -> Load:
    """Load a decorrelator of an untrained tagger, some of whose keys are changed."""
    models = {"tagger": {"bundle": str(bundle(tmp_path / "tagger", model="tagger"))}}
    jets()

    def load_declared(**changes: Any) -> Loaded:
        start = {"score": "tagger", "method": "conditional_flow", "variables": ["softdrop_mass"]}
        given = {"files": [str(tmp_path / "fit.root")], "layout": "flat_jets"}
        wanted = {**start, "datasets": ["fit"], "options": CHEAP, **changes}
        return loaded(models=models, datasets={"fit": given}, decorrelators={"mine": wanted})

    return load_declared


def read(path: Path) -> Any:
    columns = ("softdrop_mass", "trimmed_mass", "pt", "eta", "label")
    needed = (*columns, "constituents.pt", "event", "index")
    return ntuples.read(path, "flat_jets", columns=needed)


def test_the_file_is_used_again_until_something_changes(
    declared: Load,
    bundle: Write,
    jets: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    assert not is_learnt(declared(), "mine")
    path = ensure_decorrelator(declared(), "mine")
    assert is_learnt(declared(), "mine")
    first = path.stat().st_mtime_ns
    assert ensure_decorrelator(declared(), "mine") == path
    assert path.stat().st_mtime_ns == first
    for changes in (
        {"options": {**CHEAP, "seed": 1}},
        {"variables": ["trimmed_mass"]},
        {"method": "quantile_regression"},
        {"pt_range": [100, 900]},
        {"score": "trimmed_mass"},
    ):
        assert not is_learnt(declared(**changes), "mine")
    with monkeypatch.context() as patched:
        patched.setattr(decorrelators, "code_digest", lambda *_: "another")
        assert not is_learnt(declared(), "mine")
    content = (tmp_path / "fit.root").read_bytes()
    jets(seed=2)
    assert not is_learnt(declared(), "mine")
    (tmp_path / "fit.root").write_bytes(content)
    config = declared()
    assert is_learnt(config, "mine")
    shutil.rmtree(tmp_path / "tagger")
    bundle(tmp_path / "tagger", model="bayesian_tagger")
    assert decorrelator_path(config, "mine") != path
    assert not is_learnt(config, "mine")


def dependence(score: Any, columns: Any) -> float:
    """Correlation of background with the groomed mass; 1 / sqrt(jets) without any."""
    return float(np.corrcoef(score[:, 0], columns["softdrop_mass"][:, 0])[0, 1])


@pytest.mark.parametrize("signal_is", ["high", "low"])
def test_a_column_keeps_its_order_at_one_mass(
    declared: Load, jets: Callable[..., Path], signal_is: str
) -> None:
    options = {"epochs": 15, "hidden": [8], "learning_rate": 2e-2, "batch_size": 200}
    config = declared(**{**MEASURED, "signal_is": signal_is, "options": options})
    ensure_decorrelator(config, "mine")
    others = read(jets("other.root", seed=3))
    answer = inference.tag(decorrelated_tagger(config, "mine"), others)["score"]
    sign = 1.0 if signal_is == "high" else -1.0
    assert dependence(others["trimmed_mass"], others) > 0.8
    # Of the sample and of the fit.
    assert abs(dependence(answer, others)) < 4 * (2 / EVENTS) ** 0.5
    near = np.abs(np.asarray(others["softdrop_mass"][:, 1]) - 150.0) < 5.0
    raw, new = np.asarray(others["trimmed_mass"][:, 1])[near], np.asarray(answer[:, 1])[near]
    assert np.corrcoef(sign * raw, new)[0, 1] > 0.8


def test_a_model_is_decorrelated(declared: Load, tmp_path: Path) -> None:
    config = declared()
    ensure_decorrelator(config, "mine")
    columns = read(tmp_path / "fit.root")
    answer = inference.tag(decorrelated_tagger(config, "mine"), columns)
    before = inference.tag(tmp_path / "tagger", columns)
    assert answer.fields == before.fields == ["score", "score_stat", "in_range"]
    assert np.asarray(answer["score"][:, 0]).std() == pytest.approx(12**-0.5, rel=0.1)
    assert np.asarray(before["score"][:, 0]).std() < 0.1  # an untrained network
    other = inference.tag(decorrelated_tagger(config, "mine"), columns[:3])
    np.testing.assert_array_equal(other["score"], answer["score"][:3])


def test_jets_outside_of_the_fit_are_flagged(declared: Load, tmp_path: Path) -> None:
    config = declared(**MEASURED, mass_range=[100, 200])
    ensure_decorrelator(config, "mine")
    columns = read(tmp_path / "fit.root")
    inside = inference.tag(decorrelated_tagger(config, "mine"), columns)["in_range"][:, 0]
    mass = np.asarray(columns["softdrop_mass"][:, 0])
    assert not np.asarray(inside)[(mass < 100) | (mass >= 200)].any()
    assert np.asarray(inside)[(mass > 105) & (mass < 195)].all()


def test_a_tagger_has_to_be_trained_first(loaded: Load, jets: Callable[..., Path]) -> None:
    tagger = {
        "kind": "tagger",
        "object": "jet",
        "datasets": ["fit"],
        "inputs": {"features": ["jet.eta"]},
        "network": {"name": "MLP", "hidden": [4], "head": {"name": "BernoulliHead"}},
    }
    config = loaded(
        models={"tagger": tagger},
        datasets={"fit": {"files": [str(jets())], "layout": "flat_jets"}},
        decorrelators={"mine": {**MEASURED, "score": "tagger", "datasets": ["fit"]}},
    )
    assert not is_learnt(config, "mine")
    with pytest.raises(RunError, match="'mine': no up-to-date bundle of its tagger 'tagger'"):
        ensure_decorrelator(config, "mine")


def test_damaged_files_are_refused(declared: Load, tmp_path: Path) -> None:
    config = declared()
    path = ensure_decorrelator(config, "mine")
    handle = decorrelated_tagger(config, "mine")
    content = path.read_text(encoding="utf-8")
    columns = read(tmp_path / "fit.root")
    path.write_text(content + " ", encoding="utf-8")
    with pytest.raises(BundleError, match=r"the decorrelator has sha256 .* was asked for"):
        inference.tag(handle, columns)
    for damaged, message in (
        (content.replace('"version": 1', '"version": 2'), "version 2; this program reads 1"),
        (content[: len(content) // 2], "is no decorrelator: "),
        (content.replace('"nodes"', '"knots"'), "is no decorrelator: "),
    ):
        path.write_text(damaged, encoding="utf-8")
        with pytest.raises(BundleError, match=message):
            inference.tag(decorrelated_tagger(config, "mine"), columns)
    path.unlink()
    with pytest.raises(BundleError, match="cannot be read: No such file"):
        inference.tag(handle, columns)


def test_the_command_fits_it_and_a_processor_applies_it(
    declared: Load,
    jets: Callable[..., Path],
    hepcalib: Callable[..., Result],
    tmp_path: Path,
) -> None:
    declared(**MEASURED)
    document = yaml.safe_load((tmp_path / "test.yaml").read_text(encoding="utf-8"))
    given = {"files": [str(jets("test.root", seed=4))], "layout": "flat_jets"}
    document["datasets"]["test"] = given
    document["analyses"]["tagging"] = {
        "processor": "processors:JetTagging",
        "datasets": ["test"],
        "models": {"plain": "tagger", "decorrelated": "mine"},
        "options": {"weights": "none"},
    }
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    result = hepcalib("run", tmp_path / "test.yaml", "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    ledger = json.loads((tmp_path / "out" / "ledger.json").read_text(encoding="utf-8"))
    assert ledger["balanced"] is True
    config = load(tmp_path / "test.yaml")
    assert is_learnt(config, "mine")
    with uproot.open(tmp_path / "out" / "columns" / "tagging_test.root") as file:
        tree = file[file.keys(cycle=False)[0]]
        names = ("event", "index", "score_decorrelated")
        written = {name: tree[name].array(library="np") for name in names}
    expected = inference.tag(decorrelated_tagger(config, "mine"), read(tmp_path / "test.root"))
    order = np.lexsort((written["index"], written["event"]))
    found = np.concatenate([np.ravel(part) for part in written["score_decorrelated"][order]])
    np.testing.assert_allclose(found, np.ravel(expected["score"]), atol=1e-6)
