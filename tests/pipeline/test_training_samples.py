"""Samples of a chosen size, tiny ones, and features that say nothing or too much."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from hepcalib import bundles, ntuples
from hepcalib.exceptions import TrainingError
from hepcalib.inference import Handle, predict
from hepcalib.pipeline.learnable import shuffled, validation_mask
from hepcalib.pipeline.training import ensure_bundle

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hepcalib.config import Loaded

    Load = Callable[..., Loaded]
    Write = Callable[..., Path]

TRAINING = {"epochs": 2, "batch_size": 32, "validation_fraction": 0.25}
PLAIN: dict[str, Any] = {"name": "MLP", "hidden": [4], "head": {"name": "NormalHead"}}
METHODS: dict[str, dict[str, Any]] = {
    "plain": PLAIN,
    "Bayesian": {"name": "Bayesian", "model": PLAIN, "draws": 3},
    "conformal": {"name": "Conformal", "model": {"name": "Bayesian", "model": PLAIN, "draws": 3}},
    "ensemble": {"name": "DeepEnsemble", "model": PLAIN, "members": 3},
    "repulsive": {"name": "RepulsiveEnsemble", "model": PLAIN, "members": 3},
    "dropout": {"name": "Dropout", "model": PLAIN, "draws": 3},
    "Laplace": {"name": "Laplace", "model": PLAIN, "draws": 3},
    "evidential": {
        "name": "Evidential",
        "model": {**PLAIN, "head": {"name": "EvidentialHead"}},
        "nodes": 2,
    },
    "flow": {
        "name": "FlowLikelihood",
        "transforms": 1,
        "hidden": [8],
        "head": {"name": "NormalHead"},
    },
    "ansatz": {"name": "GaussianAnsatz", "model": PLAIN, "warmup": 2},
    "inversion": {
        "name": "GeneralisedInversion",
        "model": {**PLAIN, "head": {"name": "InversionHead"}},
    },
}
OF_THE_TRUTH = {"flow", "ansatz", "inversion"}


@pytest.fixture
def clusters(loaded: Load, tmp_path: Path) -> Load:
    """Load a response model of the clusters in `a.root`."""

    def load(**changes: Any) -> Loaded:
        fields: dict[str, Any] = {
            "kind": "response",
            "object": "cluster",
            "datasets": ["train"],
            "inputs": {"features": ["cluster.energy", "cluster.rapidity", "cluster.mu"]},
            "network": PLAIN,
            "training": TRAINING,
            **changes,
        }
        given = {"files": [str(tmp_path / "a.root")], "layout": "cluster_tree"}
        return loaded(datasets={"train": given}, models={"response": fields})

    return load


def sizes(config: Loaded) -> dict[str, int]:
    spec = bundles.load(ensure_bundle(config, "response")).spec
    found: dict[str, int] = spec.provenance["examples"]
    return found


@pytest.mark.parametrize("wanted", [1, 10, 100])
def test_the_training_has_as_many_rows_as_asked_for(
    clusters: Load, cluster_file: Write, tmp_path: Path, wanted: int
) -> None:
    cluster_file(tmp_path / "a.root", clusters=300)
    expected = {"training": wanted, "validation": math.ceil(wanted / 3)}
    assert sizes(clusters(training={**TRAINING, "examples": wanted})) == expected


def test_rows_are_the_first_of_the_mixed_ones_and_all_without_a_limit(
    clusters: Load, cluster_file: Write, tmp_path: Path
) -> None:
    path = cluster_file(tmp_path / "a.root", clusters=300)
    columns = ntuples.read(path, "cluster_tree")
    kept = validation_mask(np.asarray(columns.event), 0.25)
    everything = {"training": int((~kept).sum()), "validation": int(kept.sum())}
    assert sizes(clusters()) == everything
    few = clusters(training={**TRAINING, "examples": 40})
    found = bundles.load(ensure_bundle(few, "response"))
    rows = shuffled(np.flatnonzero(~kept), np.asarray(columns.event))[:40]
    response = np.asarray(columns.energy / columns.true_energy)[rows]
    head = found.spec.model["head"]
    assert head["shift"] == pytest.approx(np.log10(response).mean(), abs=1e-6)
    assert head["scale"] == pytest.approx(np.log10(response).std(), rel=1e-5)
    energies = np.asarray(columns.energy)[rows]
    low, high = found.inputs.ranges[0].tolist()
    assert (low, high) == pytest.approx((energies.min(), energies.max()), rel=1e-6)


def test_more_rows_than_there_are_is_an_error(
    clusters: Load, cluster_file: Write, tmp_path: Path
) -> None:
    cluster_file(tmp_path / "a.root")
    message = r"model 'response' on train: training.examples is 1000; there are \d\d to learn from"
    with pytest.raises(TrainingError, match=message):
        ensure_bundle(clusters(training={**TRAINING, "examples": 1000}), "response")


@pytest.mark.parametrize("name", METHODS)
def test_ten_rows_train_every_method(
    clusters: Load, cluster_file: Write, tmp_path: Path, name: str
) -> None:
    path = cluster_file(tmp_path / "a.root", clusters=60)
    config = clusters(
        network=METHODS[name],
        training={**TRAINING, "examples": 10, "min_steps": 20},
        target="log10_truth" if name in OF_THE_TRUTH else "log10_response",
    )
    found = predict(
        Handle.of(ensure_bundle(config, "response")), ntuples.read(path, "cluster_tree")
    )
    assert len(found) == 60
    assert (found.interval_low < found.interval_high).to_numpy().all()
    assert (found.response > 0).to_numpy().all()


@pytest.mark.parametrize("name", METHODS)
def test_a_constant_feature_does_no_harm(
    clusters: Load, cluster_file: Write, tmp_path: Path, name: str
) -> None:
    constant = np.full(60, 30.0, np.float32)
    path = cluster_file(tmp_path / "a.root", clusters=60, avgMu=constant)
    config = clusters(
        network=METHODS[name],
        target="log10_truth" if name in OF_THE_TRUTH else "log10_response",
    )
    columns = ntuples.read(path, "cluster_tree")
    assert len(set(columns.mu.to_list())) == 1
    bundle = bundles.load(ensure_bundle(config, "response"))
    found = predict(bundle, columns)
    assert np.isfinite(found.response.to_numpy()).all()
    # Another value is outside of what was learnt, and says so.
    columns["mu"] = np.full(60, 31.0)
    other = predict(bundle, columns)
    assert not other.in_range.to_numpy().any()
    assert np.isfinite(other.response.to_numpy()).all()
    assert found.in_range.to_numpy().mean() > 0.7


def test_a_spectrum_power_changes_the_model(
    clusters: Load, cluster_file: Write, tmp_path: Path
) -> None:
    cluster_file(tmp_path / "a.root", clusters=300)
    first = bundles.load(ensure_bundle(clusters(), "response"))
    second = bundles.load(ensure_bundle(clusters(spectrum_power=1.0), "response"))
    assert first.spec.model["head"] == second.spec.model["head"]
    assert first.spec.weights_sha256 != second.spec.weights_sha256


def test_few_rows_are_of_all_datasets() -> None:
    """Two datasets of the same events, one behind the other, are mixed, and the event decides."""
    identity = np.concatenate([np.arange(1000), np.arange(1000)])
    rows = shuffled(np.arange(2000), identity)
    assert sorted(rows) == list(range(2000))
    second = rows[:200] >= 1000
    assert second.sum() == 100  # both copies of an event stand together
    assert set(identity[rows[:200]][second]) == set(identity[rows[:200]][~second])
    fewer = shuffled(np.arange(0, 2000, 2), identity)
    assert list(fewer) == [row for row in rows if row % 2 == 0]
