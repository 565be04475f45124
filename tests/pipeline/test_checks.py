"""A configuration that cannot be meant is refused at once, naming file, line and key."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from hepcalib import bundles

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from click.testing import Result

    Command = Callable[..., Result]
    Write = Callable[..., Path]

DOCUMENT: dict[str, Any] = {
    "version": 1,
    "name": "jets",
    "samples": {
        "made": {"kind": "jets", "process": "qcd", "events": 50_000, "seed": 1},
        "signal": {"kind": "jets", "process": "wprime", "events": 50_000, "seed": 1},
    },
    "datasets": {
        "train": {"sample": "made"},
        "signal": {"sample": "signal"},
        "test": {"files": ["a.root"], "layout": "flat_jets"},
    },
    "models": {
        "response": {
            "kind": "response",
            "object": "jet",
            "datasets": ["train"],
            "inputs": {"features": ["jet.eta"], "constituents": ["constituent.log_pt"]},
            "network": {"name": "PFN", "phi": [4], "f": [4], "head": {"name": "NormalHead"}},
        },
        "tagger": {
            "kind": "tagger",
            "object": "jet",
            "datasets": ["train", "signal"],
            "inputs": {"features": ["jet.eta"]},
            "network": {"name": "MLP", "hidden": [4], "head": {"name": "BernoulliHead"}},
            "penalty": {"name": "distance_correlation", "nuisance": "mass", "strength": 1.0},
        },
    },
    "analyses": {
        "study": {
            "processor": "processors:JetCalibration",
            "datasets": ["test"],
            "models": {"calibration": "response"},
            "options": {"weights": "none"},
        },
        "tagging": {
            "processor": "processors:JetTagging",
            "datasets": ["test"],
            "models": {"plain": "tagger", "decorrelated": "tagger"},
            "options": {"pt_range": [200, 700]},
        },
    },
}


def written(folder: Path, *changes: tuple[str, Any]) -> Path:
    """Write the document with some keys (dots between their parts) set; None removes one."""
    document = copy.deepcopy(DOCUMENT)
    document["workspace"] = str(folder / "workspace")
    for key, value in changes:
        *parents, last = key.split(".")
        section = document
        for parent in parents:
            section = section[parent]
        if value is None:
            del section[last]
        else:
            section[last] = value
    path = folder / "jets.yaml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        (
            "models.response.trainin",
            {},
            "models.response.trainin: unknown key 'trainin'. Known: ",
        ),
        ("models.response.trainin", {}, "Did you mean 'training'?"),
        ("run", {"chunk_sise": 3}, "run.chunk_sise: unknown key 'chunk_sise'. Known: address,"),
        (
            "analyses.study.processor",
            "processors:JetCalibrator",
            "'processors' has no processor 'JetCalibrator'. Known: ClusterCalibration, ",
        ),
        ("analyses.study.processor", "processor:JetCalibration", "no module 'processor'"),
        ("analyses.study.processor", "pathlib:Path", "'pathlib' has no processor 'Path'"),
        (
            "analyses.study.options.columns",
            "elsewhere",
            "the folder of the columns follows from the output directory",
        ),
        (
            "analyses.study.models.calibration",
            "tagger",
            "'tagger' is a tagger model; processors:JetCalibration takes a response model",
        ),
        ("datasets", {"../there": {"files": ["a.root"], "layout": "flat_jets"}}, "'../there'"),
        (
            "analyses.study.options.wieghts",
            "none",
            "processors:JetCalibration takes no 'wieghts'. Known: calibration, columns, ",
        ),
        (
            "analyses.study.options.weights",
            "nnone",
            "Literal['event', 'none'] is needed: unknown value. Known: event, none. Did you mean",
        ),
        ("analyses.tagging.options.pt_range", [700, 200], "pt_range is [700, 200]; needed: a low"),
        ("analyses.tagging.options.mass", "softdrop", "mass: unknown value 'softdrop'. Known: ma"),
        (
            "analyses.study.models",
            {"calibrator": "response"},
            "analyses.study.models.calibrator: processors:JetCalibration takes no 'calibrator'",
        ),
        (
            "analyses.study.models",
            {},
            "analyses.study: processors:JetCalibration needs calibration",
        ),
        (
            "models.response.inputs.features",
            ["jet.etta"],
            "models.response.inputs: unknown feature 'jet.etta'",
        ),
        ("models.response.inputs.features", ["jet.etta"], "Did you mean 'jet.eta'?"),
        (
            "models.response.network.name",
            "PFM",
            "models.response.network: model.name: unknown model 'PFM'. Known: Bayesian, ",
        ),
        ("models.response.network.name", "PFM", "Did you mean 'PFN'?"),
        (
            "models.response.network",
            {"name": "EFN", "head": {"name": "NormalHead"}},
            "models.response.network: inputs.constituents begin with constituent.log_pt; EFN needs",
        ),
        ("models.response.network.phy", [4], "models.response.network: "),
        (
            "models.response.network.head.name",
            "BernoulliHead",
            "models.response.network: a response with a BernoulliHead",
        ),
        (
            "models.response.network.head.name",
            "EvidentialHead",
            "an EvidentialHead without Evidential around its model",
        ),
        (
            "models.response.network.head.name",
            "LogNormalHead",
            "a LogNormalHead with target 'log10_response'; it is the distribution of R: 'response'",
        ),
        (
            "models.response.network",
            {
                "name": "GaussianAnsatz",
                "model": {"name": "PFN", "phi": [4], "f": [4], "head": {"name": "NormalHead"}},
            },
            "GaussianAnsatz with target 'log10_response'; it needs 'log10_truth'",
        ),
        (
            "models.response.network",
            {
                "name": "Bayesian",
                "model": {
                    "name": "GaussianAnsatz",
                    "model": {"name": "PFN", "phi": [4], "f": [4], "head": {"name": "NormalHead"}},
                },
            },
            "GaussianAnsatz with target 'log10_response'; it needs 'log10_truth'",
        ),
        ("models.response.quantity", "mas", "models.response.quantity: "),
        (
            "models.tagger.network.head.name",
            "NormalHead",
            "models.tagger.network: a tagger with a NormalHead; a tagger has a Berno",
        ),
        (
            "models.tagger.penalty.name",
            "distance_corelation",
            "models.tagger.penalty.name: unknown penalty 'distance_corelation'. Known: ",
        ),
        (
            "models.tagger.penalty.warmup_epochs",
            20,
            "models.tagger.training: penalty: 0 pretraining_epochs and 20 warmup_epochs of 20 ",
        ),
        (
            "models.tagger.penalty.options",
            {"unbiased": True, "ordr": 1},
            "models.tagger.penalty: unknown option 'ordr' of distance_correlation. Known: ",
        ),
        (
            "models.tagger.penalty.at_most",
            0.1,
            "models.tagger.penalty: penalty: strength 1.0, at_most 0.1; needed: one of them",
        ),
        (
            "models.tagger.penalty.auxiliary",
            ["pt"],
            "models.tagger.penalty.auxiliary: distance_correlation knows no auxiliary columns",
        ),
        ("models.tagger.penalty.name", "disco", "Known: abcd_closure, adversary"),
        (
            "models.tagger.penalty.nuisance",
            "softdrop_mas",
            "models.tagger.penalty.nuisance: layout 'flat_jets' has no column 'softdrop_mas'",
        ),
        ("models.response.object", "cluster", "dataset 'train' holds jets; the model is for clus"),
        (
            "datasets.test.layout",
            "flat_jet",
            "datasets.test.layout: unknown layout 'flat_jet'. Known: cluster_tree, flat_jets, ",
        ),
        ("datasets.test.layout", "flat_jet", "Did you mean 'flat_jets'?"),
        (
            "datasets.test.layout",
            "cluster_tree",
            "analyses.study.models.calibration: 'response' is for jets; dataset 'test' holds clus",
        ),
        ("samples.made.process", "qdc", "samples.made.process: Input should be 'qcd', 'wprime'"),
    ],
)
def test_complaint_names_the_place_and_what_is_known(
    tmp_path: Path, hepcalib: Command, key: str, value: Any, message: str
) -> None:
    path = written(tmp_path, (key, value))
    result = hepcalib("run", path, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: {path}:")
    assert message in result.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["jets.yaml"]


def test_the_document_itself_is_fine(tmp_path: Path, hepcalib: Command, jet_file: Write) -> None:
    """The control of the test above."""
    files = [str(jet_file(tmp_path / "a.root"))]
    result = hepcalib("run", written(tmp_path, ("datasets.test.files", files)), "--dry-run")
    assert result.exit_code == 0, result.output
    assert result.stdout.count("to do") == 4
    assert "32 entries in 1 files" in result.stdout


def other_version(folder: Path) -> str:
    file = folder / "bundle.json"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace('"version": 1', '"version": 2'), encoding="utf-8")
    return f"{file}: bundle of version 2; hepcalib "


def flipped_weight(folder: Path) -> str:
    file = folder / "weights.safetensors"
    content = bytearray(file.read_bytes())
    content[-3] ^= 1
    file.write_bytes(content)
    return f"{file}: sha256 is "


def flipped_text(folder: Path) -> str:
    file = folder / "bundle.json"
    content = file.read_bytes()
    file.write_bytes(content.replace(b"jet_response", b"jet_sesponse"))
    return f"{file}: does not agree with its own sha256"


def absent(folder: Path) -> str:
    for file in folder.iterdir():
        file.unlink()
    return f"{folder / 'bundle.json'}: cannot be read: No such file"


def without_weights(folder: Path) -> str:
    (folder / "weights.safetensors").unlink()
    return f"{folder / 'weights.safetensors'}: cannot be read"


@pytest.mark.parametrize("command", ["run", "process"])
@pytest.mark.parametrize(
    "damage", [other_version, flipped_weight, flipped_text, absent, without_weights]
)
def test_a_bad_bundle_is_named(
    tmp_path: Path,
    hepcalib: Command,
    bundle: Write,
    damage: Callable[[Path], str],
    command: str,
) -> None:
    folder = bundle(tmp_path / "bundle", model="jet_response")
    message = damage(folder)
    path = written(tmp_path, ("models.response", {"bundle": str(folder)}))
    result = hepcalib(command, path, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: {message}")
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "workspace").exists()


def test_a_bundle_must_be_the_declared_one(
    tmp_path: Path, hepcalib: Command, bundle: Write
) -> None:
    folder = bundle(tmp_path / "bundle", model="jet_response")
    declared = {"bundle": str(folder), "sha256": "0" * 64}
    result = hepcalib("run", written(tmp_path, ("models.response", declared)))
    assert result.exit_code == 2
    sha256 = bundles.sha256_of(folder)
    assert f"{folder}: sha256 is {sha256}, declared is {'0' * 64}" in result.stderr


def test_a_bundle_of_clusters_does_not_fit_jets(
    tmp_path: Path, hepcalib: Command, bundle: Write
) -> None:
    folder = bundle(tmp_path / "bundle", model="cluster_response")
    path = written(tmp_path, ("models.response", {"bundle": str(folder)}))
    result = hepcalib("run", path)
    assert result.exit_code == 2
    message = "analyses.study.models.calibration: 'response' is for clusters; dataset 'test' holds"
    assert message in result.stderr
