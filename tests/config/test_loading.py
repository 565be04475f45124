from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml

from hepcalib.config import BundleFile, ModelConfig, dump, load
from hepcalib.exceptions import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

MINIMAL = """\
version: 1
name: small
samples:
  made: {kind: topoclusters, clusters: 30, seed: 1}
datasets:
  clusters: {sample: made}
models:
  response:
    kind: response
    object: cluster
    datasets: [clusters]
    inputs: {features: [cluster.energy]}
    network: {name: MLP, head: {name: NormalHead}}
analyses:
  study:
    processor: processors:ClusterCalibration
    datasets: [clusters]
    models: {calibration: response}
"""


def written(folder: Path, text: str, name: str = "small.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def complaint(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(written(folder, text))
    return str(caught.value)


def test_minimal_configuration_is_read(tmp_path: Path) -> None:
    loaded = load(written(tmp_path, MINIMAL))
    model = loaded.config.models["response"]
    assert isinstance(model, ModelConfig)
    assert model.training.epochs == 20
    assert loaded.places[("models", "response", "kind")] == f"{tmp_path / 'small.yaml'}:9"


def test_an_address_is_for_dask_only(tmp_path: Path) -> None:
    text = MINIMAL + "run: {executor: iterative, address: 'tcp://somewhere:1'}\n"
    said = complaint(tmp_path, text)
    assert "run.address: only the executor 'dask' has a scheduler" in said
    assert "the executor is 'iterative'" in said
    loaded = load(written(tmp_path, text.replace("iterative", "dask")))
    assert loaded.with_run(executor="futures").config.run.address is None
    assert loaded.with_run(workers=2).config.run.address == "tcp://somewhere:1"
    with pytest.raises(ConfigError, match=r"address tcp://other:1: only .* is 'futures'"):
        loaded.with_run(executor="futures", address="tcp://other:1")
    with pytest.raises(ConfigError, match=r"address tcp://other:1: only .* is 'iterative'"):
        load(written(tmp_path, MINIMAL)).with_run(address="tcp://other:1")


def test_dump_reads_back_the_same(tmp_path: Path) -> None:
    config = load(written(tmp_path, MINIMAL)).config
    assert load(written(tmp_path, dump(config), "again.yaml")).config == config


def test_run_options_are_replaced_only_where_given(tmp_path: Path) -> None:
    loaded = load(written(tmp_path, MINIMAL)).with_run(workers=3, executor=None)
    assert (loaded.config.run.workers, loaded.config.run.executor) == (3, "iterative")


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("clusters: 30", "clusterz: 30", ":4: samples.made.clusterz: unknown key 'clusterz'"),
        ("clusters: 30", "clusterz: 30", "Did you mean 'clusters'?"),
        ("    kind: response\n", "", ":8: models.response: the key 'kind' is missing"),
        ("network:", "netwerk:", ":13: models.response.netwerk: unknown key"),
        ("clusters: 30", "clusters: -3", ":4: samples.made.clusters: Input should be greater"),
        ("kind: topoclusters", "kind: topocluster", ":4: samples.made: Input tag 'topocluster'"),
        ("sample: made", "sample: mode", ":6: datasets.clusters.sample: nothing is named 'mode'"),
        ("calibration: response", "calibration: r", ":18: analyses.study.models.calibration"),
        ("version: 1", "version: 2", ":1: version: Input should be 1; got 2"),
        ("version: 1", "version: 1\nversion: 1", ":2: version: given twice"),
        ("processors:ClusterCalibration", "processors.X", ":16: analyses.study.processor"),
    ],
)
def test_complaint_names_file_line_key(tmp_path: Path, old: str, new: str, expected: str) -> None:
    assert old in MINIMAL
    message = complaint(tmp_path, MINIMAL.replace(old, new, 1))
    assert expected in message
    assert message.startswith(str(tmp_path / "small.yaml"))


@pytest.mark.parametrize("text", ["", "- 1\n", "a: [1\n", "42\n"])
def test_what_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    assert "small.yaml" in complaint(tmp_path, text)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: cannot be read"):
        load(tmp_path / "nowhere.yaml")


def test_a_dataset_is_either_a_sample_or_files(tmp_path: Path) -> None:
    both = "{sample: made, files: [a.root], layout: cluster_tree}"
    assert "either 'sample' or 'files'" in complaint(
        tmp_path, MINIMAL.replace("{sample: made}", both)
    )
    assert "need a 'layout'" in complaint(
        tmp_path, MINIMAL.replace("{sample: made}", "{files: [a.root]}")
    )


def test_variables_in_file_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEPCALIB_SOMEWHERE", raising=False)
    files = "{files: ['${HEPCALIB_SOMEWHERE}/a.root'], layout: cluster_tree}"
    path = written(tmp_path, MINIMAL.replace("{sample: made}", files))
    with pytest.raises(ConfigError, match=r"HEPCALIB_SOMEWHERE .* is not set"):
        load(path)
    config = load(path, variables={"HEPCALIB_SOMEWHERE": "/data"}).config
    assert config.datasets["clusters"].files == ("/data/a.root",)


def test_existing_bundle_stands_for_a_model(tmp_path: Path) -> None:
    document = yaml.safe_load(MINIMAL)
    document["models"]["response"] = {"bundle": "there"}
    config = load(written(tmp_path, yaml.safe_dump(document))).config
    assert config.models["response"] == BundleFile(bundle="there")


def test_model_from_another_file_brings_its_samples(tmp_path: Path) -> None:
    written(tmp_path, MINIMAL, "source.yaml")
    document = yaml.safe_load(MINIMAL)
    document["models"] = {"response": {"from": "source.yaml"}}
    document["samples"] = {"other": {"kind": "topoclusters", "clusters": 5, "seed": 2}}
    document["datasets"] = {"test": {"sample": "other"}}
    document["analyses"]["study"]["datasets"] = ["test"]
    loaded = load(written(tmp_path, yaml.safe_dump(document)))
    assert set(loaded.config.samples) == {"other", "made"}
    assert set(loaded.config.datasets) == {"test", "clusters"}
    assert "source.yaml" in loaded.places[("models", "response", "kind")]


def test_model_from_another_file_must_exist_there(tmp_path: Path) -> None:
    written(tmp_path, MINIMAL.replace("  response:", "  respons:"), "source.yaml")
    document = yaml.safe_load(MINIMAL)
    document["models"] = {"response": {"from": "source.yaml"}}
    message = complaint(tmp_path, yaml.safe_dump(document))
    assert "has no model 'response'. Known: respons. Did you mean 'respons'?" in message


def test_conflicting_samples_are_refused(tmp_path: Path) -> None:
    written(tmp_path, MINIMAL, "source.yaml")
    document = yaml.safe_load(MINIMAL)
    document["models"] = {"response": {"from": "source.yaml"}}
    document["samples"]["made"]["seed"] = 2
    assert "samples.made: differs from" in complaint(tmp_path, yaml.safe_dump(document))
