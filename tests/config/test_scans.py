from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml

from hepcalib.config import ModelConfig, dump, load, scan_models
from hepcalib.exceptions import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from hepcalib.config import Loaded

MODEL: dict[str, Any] = {
    "kind": "response",
    "object": "cluster",
    "datasets": ["clusters"],
    "inputs": {"features": ["cluster.energy"]},
    "network": {"name": "Bayesian", "model": {"name": "MLP", "head": {"name": "NormalHead"}}},
}


def document(**scan: Any) -> dict[str, Any]:
    return {
        "version": 1,
        "name": "small",
        "samples": {"made": {"kind": "topoclusters", "clusters": 30, "seed": 1}},
        "datasets": {"clusters": {"sample": "made"}},
        "models": {"bnn": MODEL},
        "scans": {"size": {"model": "bnn", "key": "training.examples", "values": [10, 20], **scan}},
        "analyses": {
            "study": {
                "processor": "processors:ClusterStudy",
                "datasets": ["clusters"],
                "models": {"BNN": "bnn", "training_size": "size"},
            }
        },
    }


def loaded(folder: Path, fields: dict[str, Any]) -> Loaded:
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(fields), encoding="utf-8")
    return load(path)


def trained(found: Loaded, name: str) -> ModelConfig:
    model = found.config.models[name]
    assert isinstance(model, ModelConfig)
    return model


def test_each_value_becomes_a_model(tmp_path: Path) -> None:
    found = loaded(tmp_path, document())
    assert scan_models(found.config, "size") == {10.0: "size-10", 20.0: "size-20"}
    assert trained(found, "size-20").training.examples == 20
    base = trained(found, "bnn")
    assert base.training.examples is None
    only = base.training.model_copy(update={"examples": 20})
    assert base.model_copy(update={"training": only}) == trained(found, "size-20")


def test_keywords_of_the_network_can_be_scanned(tmp_path: Path) -> None:
    scan = {"key": "network.prior_precision", "values": [0.1, 100.0]}
    found = loaded(tmp_path, document(**scan))
    assert list(scan_models(found.config, "size").values()) == ["size-0p1", "size-100p0"]
    assert trained(found, "size-0p1").network["prior_precision"] == 0.1


def test_dump_reads_back_the_same(tmp_path: Path) -> None:
    config = loaded(tmp_path, document()).config
    assert loaded(tmp_path, yaml.safe_load(dump(config))).config == config


@pytest.mark.parametrize(
    ("scan", "message"),
    [
        ({"model": "bmm"}, r"scans\.size\.model: nothing is named 'bmm'.*bnn"),
        ({"key": "training.example"}, r"scans\.size: key: a model has no.*'examples'"),
        ({"key": "trainings.examples"}, r"scans\.size: key: a model has no 'trainings"),
        ({"values": [10]}, r"scans\.size\.values"),
        ({"values": [10, -1]}, r"scans\.size\.values"),
        ({"values": [10, 10.0]}, r"values: .*needed: each of them once"),
        ({"values": [10, 2.5]}, r"values: 2\.5 for 'training\.examples'"),
    ],
)
def test_impossible_scans_are_refused(tmp_path: Path, scan: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        loaded(tmp_path, document(**scan))


def test_names_must_not_clash(tmp_path: Path) -> None:
    fields = document()
    fields["models"]["size"] = MODEL
    with pytest.raises(ConfigError, match="a model has this name"):
        loaded(tmp_path, fields)
    fields = document()
    fields["models"]["size-10"] = MODEL
    with pytest.raises(ConfigError, match="another model 'size-10'"):
        loaded(tmp_path, fields)
