from __future__ import annotations

import functools
import os
import re
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from hepcalib import bundles, ntuples
from hepcalib.config import ModelConfig
from hepcalib.exceptions import DataError, NtupleError, TrainingError
from hepcalib.pipeline import training
from hepcalib.pipeline.learnable import learnable, validation_mask
from hepcalib.pipeline.training import bundle_path, ensure_bundle, is_up_to_date
from hepcalib.training import Checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from hepcalib.config import Loaded

    Load = Callable[..., Loaded]
    Write = Callable[..., Path]


@pytest.fixture
def clusters(loaded: Load, tmp_path: Path) -> Load:
    """Load a response model of clusters, trained for an epoch on files in this folder."""

    def load(
        *, files: tuple[str, ...] = ("*.root",), dataset: Any = None, **changes: Any
    ) -> Loaded:
        given = {"files": [str(tmp_path / file) for file in files], "layout": "cluster_tree"}
        fields = {
            "kind": "response",
            "object": "cluster",
            "datasets": ["train"],
            "inputs": {"features": ["cluster.energy", "cluster.rapidity"]},
            "network": {"name": "MLP", "hidden": [4], "head": {"name": "NormalHead"}},
            "training": {"epochs": 2, "batch_size": 32, "validation_fraction": 0.3},
            **changes,
        }
        return loaded(datasets={"train": given | (dataset or {})}, models={"response": fields})

    return load


@pytest.fixture
def jets(loaded: Load) -> Load:
    """Load a tagger, trained for an epoch on a file."""

    def load(path: Path, **changes: Any) -> Loaded:
        fields = {
            "kind": "tagger",
            "object": "jet",
            "datasets": ["train"],
            "inputs": {"features": ["jet.eta", "jet.log_pt"]},
            "network": {"name": "MLP", "hidden": [4], "head": {"name": "BernoulliHead"}},
            "training": {"epochs": 1, "validation_fraction": 0.4},
            **changes,
        }
        datasets = {"train": {"files": [str(path)], "layout": "flat_jets"}}
        return loaded(datasets=datasets, models={"tagger": fields})

    return load


def test_the_path_depends_on_content_alone(
    clusters: Load, cluster_file: Write, tmp_path: Path
) -> None:
    path = cluster_file(tmp_path / "a.root")
    first = bundle_path(clusters(), "response")
    os.utime(path, (1, 1))
    assert bundle_path(clusters(), "response") == first
    path.rename(tmp_path / "renamed.root")
    assert bundle_path(clusters(), "response") == first
    cluster_file(tmp_path / "renamed.root", clusterPhi=np.zeros(60, np.float32))
    assert bundle_path(clusters(), "response") != first


@pytest.mark.parametrize(
    "change",
    [
        {"training": {"epochs": 3}},
        {"location": "mean"},
        {"inputs": {"features": ["cluster.energy"]}},
        {"network": {"name": "MLP", "hidden": [5], "head": {"name": "NormalHead"}}},
        {"weights": "event"},
        {"target": "response"},
        {"spectrum_power": 0.5},
        {"training": {"epochs": 2, "batch_size": 32, "validation_fraction": 0.3, "examples": 9}},
    ],
)
def test_the_path_depends_on_what_determines_the_model(
    clusters: Load, cluster_file: Write, tmp_path: Path, change: dict[str, Any]
) -> None:
    cluster_file(tmp_path / "a.root")
    first = bundle_path(clusters(), "response")
    assert first.parent == tmp_path / "workspace" / "bundles"
    assert bundle_path(clusters(**change), "response") != first


def test_a_model_is_trained_once(clusters: Load, cluster_file: Write, tmp_path: Path) -> None:
    cluster_file(tmp_path / "a.root", clusters=300)
    config = clusters()
    assert not is_up_to_date(config, "response")
    epochs: list[tuple[int, int]] = []
    path = ensure_bundle(config, "response", progress=lambda *done: epochs.append(done))
    assert epochs == [(1, 2), (2, 2)]
    assert is_up_to_date(config, "response")
    assert ensure_bundle(config, "response", progress=lambda *done: epochs.append(done)) == path
    assert len(epochs) == 2


def test_an_interrupted_training_goes_on(
    clusters: Load, cluster_file: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "Checkpoint", functools.partial(Checkpoint, every=0.0))
    cluster_file(tmp_path / "a.root", clusters=300)
    config = clusters(training={"epochs": 5, "batch_size": 32, "validation_fraction": 0.3})
    expected = bundles.load(ensure_bundle(config, "response"))
    shutil.rmtree(bundle_path(config, "response"))
    checkpoints = tmp_path / "workspace" / "checkpoints"
    assert list(checkpoints.iterdir()) == []

    def interrupt(done: int, _: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ensure_bundle(config, "response", progress=interrupt)
    name = bundle_path(config, "response").name
    assert [file.name for file in checkpoints.iterdir()] == [f"{name}.pt"]
    epochs: list[tuple[int, int]] = []
    found = bundles.load(
        ensure_bundle(config, "response", progress=lambda *done: epochs.append(done))
    )
    assert epochs == [(3, 5), (4, 5), (5, 5)]  # the last validation had not been written
    assert found.spec.weights_sha256 == expected.spec.weights_sha256
    assert found.spec.provenance == expected.spec.provenance
    assert list(checkpoints.iterdir()) == []
    (checkpoints / f"{name}.pt").touch()  # of a process killed before it could remove it
    ensure_bundle(config, "response", progress=lambda *done: epochs.append(done))
    assert list(checkpoints.iterdir()) == []
    assert len(epochs) == 3


def test_the_bundle_says_how_it_came_about(
    clusters: Load, cluster_file: Write, tmp_path: Path
) -> None:
    path = cluster_file(tmp_path / "a.root", clusters=300)
    config = clusters()
    found = bundles.load(ensure_bundle(config, "response"))
    event = np.asarray(ntuples.read(path, "cluster_tree").event)
    kept = validation_mask(event, 0.3)
    examples = found.spec.provenance["examples"]
    assert examples == {"training": int((~kept).sum()), "validation": int(kept.sum())}
    assert not set(event[kept]) & set(event[~kept])
    assert len(found.spec.provenance["history"]) == 2
    model = config.config.models["response"]
    assert isinstance(model, ModelConfig)
    target = learnable(config, model).target[~kept]
    head = found.spec.model["head"]
    assert head["shift"] == pytest.approx(target.mean(), rel=1e-6)
    assert head["scale"] == pytest.approx(target.std(), rel=1e-6)


def test_an_existing_bundle_is_used_as_it_is(loaded: Load, bundle: Write, tmp_path: Path) -> None:
    path = bundle(tmp_path / "given", model="cluster_response")
    config = loaded(models={"response": {"bundle": str(path)}})
    assert ensure_bundle(config, "response") == path


def test_all_bad_files_are_named(clusters: Load, cluster_file: Write, tmp_path: Path) -> None:
    cluster_file(tmp_path / "a.root")
    cluster_file(tmp_path / "b.root", seed=2, cluster_ENG_CALIB_TOT=None)
    config = clusters(files=("a.root", "b.root", "c.root"), dataset={"sha256": {"a.root": "0"}})
    with pytest.raises(NtupleError) as caught:
        bundle_path(config, "response")
    first, second, third = re.split(r"; (?=dataset ')", str(caught.value))
    start = f"dataset 'train': {tmp_path}"
    assert first.startswith(f"{start}/a.root: sha256 is ")
    assert second.startswith(f"{start}/b.root: tree 'ClusterTree' is missing branch")
    assert third.startswith(f"{start}/c.root: cannot be opened")


def test_a_column_that_only_the_training_needs(jets: Load, jet_file: Write, tmp_path: Path) -> None:
    path = jet_file(tmp_path / "jets.root", Jet_mtrimmed=None)
    penalty = {"name": "distance_correlation", "nuisance": "trimmed_mass", "strength": 1.0}
    assert not bundle_path(jets(path), "tagger").exists()
    with pytest.raises(NtupleError, match=r"jets\.root: .* missing branch 'Jet_mtrimmed'"):
        bundle_path(jets(path, penalty=penalty), "tagger")


def test_a_feature_that_is_not_finite_names_model_and_dataset(
    clusters: Load, cluster_file: Write, tmp_path: Path
) -> None:
    cluster_file(tmp_path / "a.root", clusterEta=np.where(np.arange(60) == 5, np.inf, 0.1))
    message = "model 'response' on train: feature 'cluster.rapidity' is not finite for 1 of 60, "
    with pytest.raises(DataError, match=message + "first in row 5: inf"):
        ensure_bundle(clusters(), "response")


@pytest.mark.parametrize(
    ("branches", "weights", "message"),
    [
        ({"counts": [0] * 9}, "none", "none of 0 jets can be used: they need the label 0"),
        ({"counts": [1] * 9, "Jet_label": [[-1]] * 9}, "none", "none of 9 jets can be used"),
        ({"Jet_label": None}, "none", "none of 48 jets can be used"),
        ({"counts": [1] * 30, "Jet_label": [[0]] * 30}, "none", "there is no signal"),
        ({"counts": [1] * 30, "Jet_label": [[1]] * 30}, "none", "there is no background"),
        ({"genWeight": np.full(32, -1.0)}, "event", "weights sum to -"),
        ({"counts": [1, 1]}, "none", "0 jets to learn from and 2 to validate with"),
    ],
)
def test_samples_that_nothing_can_be_learnt_from(
    jets: Load,
    jet_file: Write,
    tmp_path: Path,
    branches: dict[str, Any],
    *,
    weights: str,
    message: str,
) -> None:
    config = jets(jet_file(tmp_path / "jets.root", **branches), weights=weights)
    with pytest.raises(TrainingError) as caught:
        ensure_bundle(config, "tagger")
    assert str(caught.value).startswith("model 'tagger' on train: ")
    assert message in str(caught.value)
    assert not is_up_to_date(config, "tagger")


def test_unmatched_jets_have_no_response(loaded: Load, jet_file: Write, tmp_path: Path) -> None:
    path = jet_file(tmp_path / "jets.root", counts=[1, 1], Jet_genJetIdx=[[-1], [-1]])
    fields = {
        "kind": "response",
        "object": "jet",
        "datasets": ["train"],
        "inputs": {"features": ["jet.eta"]},
        "network": {"name": "MLP", "head": {"name": "NormalHead"}},
    }
    datasets = {"train": {"files": [str(path)], "layout": "flat_jets"}}
    config = loaded(datasets=datasets, models={"response": fields})
    with pytest.raises(TrainingError, match="none of 2 jets can be used: they need a positive"):
        ensure_bundle(config, "response")
