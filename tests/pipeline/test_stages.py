"""The order of the steps: what can be wrong is said before anything expensive starts."""

from __future__ import annotations

import hashlib
import json
import re
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
import yaml

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from click.testing import Result

    Command = Callable[..., Result]
    Write = Callable[..., Path]

# A processor without models or figures, so that the steps take no time.
MODULE = """
from coffea.processor import ProcessorABC
from hist import Hist
from hepcalib import ntuples


class Spectrum(ProcessorABC):
    needs = ("had_weight",)

    def process(self, events):
        energy = ntuples.objects(events).energy
        return {"energy": Hist.new.Reg(10, 0, 100, name="energy").Weight().fill(energy)}

    def postprocess(self, accumulator):
        return accumulator
"""


@pytest.fixture
def configure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Write a configuration: a model to train on a small sample, and files to process."""
    (tmp_path / "own_spectrum.py").write_text(MODULE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "own_spectrum", raising=False)

    def write(*files: Path, clusters: int = 200, **dataset: Any) -> Path:
        given = {"files": [str(file) for file in files], "layout": "cluster_tree", **dataset}
        document = {
            "version": 1,
            "name": "steps",
            "workspace": str(tmp_path / "workspace"),
            "samples": {"made": {"kind": "topoclusters", "clusters": clusters, "seed": 1}},
            "datasets": {"train": {"sample": "made"}, "given": given},
            "models": {
                "response": {
                    "kind": "response",
                    "object": "cluster",
                    "datasets": ["train"],
                    "inputs": {"features": ["cluster.energy"]},
                    "network": {"name": "MLP", "hidden": [4], "head": {"name": "NormalHead"}},
                    "training": {"epochs": 1},
                }
            },
            "analyses": {"study": {"processor": "own_spectrum:Spectrum", "datasets": ["given"]}},
        }
        path = tmp_path / "steps.yaml"
        path.write_text(yaml.safe_dump(document), encoding="utf-8")
        return path

    return write


def read_ledger(out: Path) -> Any:
    return json.loads((out / "ledger.json").read_text(encoding="utf-8"))["datasets"]["given"]


@pytest.mark.parametrize("option", ["--dry-run", "--workers=1"])
def test_all_bad_files_are_named_within_seconds(
    configure: Command, cluster_file: Write, hepcalib: Command, tmp_path: Path, option: str
) -> None:
    good = cluster_file(tmp_path / "good.root")
    branch = cluster_file(tmp_path / "branch.root", seed=2, cluster_HAD_WEIGHT=None)
    gone = tmp_path / "gone.root"
    config = configure(good, branch, gone, clusters=1_000_000)
    start = time.monotonic()
    result = hepcalib("run", config, "--out", tmp_path / "out", option)
    assert time.monotonic() - start < 5
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    first, second = re.split(r"; (?=dataset ')", line)
    missing = f"{branch}: tree 'ClusterTree' is missing branch 'cluster_HAD_WEIGHT'"
    assert first.startswith(f"Error: dataset 'given': {missing}")
    assert second.startswith(f"dataset 'given': {gone}: cannot be opened: No such file")
    assert not (tmp_path / "workspace").exists()
    assert not (tmp_path / "out").exists()


def test_a_flipped_bit_is_seen_before_the_training(
    configure: Command, cluster_file: Write, hepcalib: Command, tmp_path: Path
) -> None:
    path = cluster_file(tmp_path / "a.root")
    good = hashlib.sha256(path.read_bytes()).hexdigest()
    cluster_file(path, seed=2)
    config = configure(path, sha256={"a.root": good})
    result = hepcalib("run", config, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert f"{path}: sha256 is " in result.stderr
    assert not (tmp_path / "workspace").exists()


def test_a_tolerated_file_stops_nothing(
    configure: Command, cluster_file: Write, hepcalib: Command, tmp_path: Path
) -> None:
    good, gone = cluster_file(tmp_path / "good.root"), tmp_path / "gone.root"
    config = configure(good, gone, tolerate_bad_files=True)
    result = hepcalib("run", config, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert read_ledger(tmp_path / "out")["problems"][0]["kind"] == "skipped"
    (bundle,) = (tmp_path / "workspace" / "bundles").iterdir()
    assert (bundle / "bundle.json").is_file()
    assert (tmp_path / "out" / "figures" / "training_response.png").is_file()


def test_with_nothing_left_to_train_the_ledger_tells(
    configure: Command, cluster_file: Write, hepcalib: Command, tmp_path: Path
) -> None:
    good = cluster_file(tmp_path / "good.root")
    for command in ("simulate", "train"):
        assert hepcalib(command, configure(good)).exit_code == 0
    gone = tmp_path / "gone.root"
    result = hepcalib("run", configure(good, gone), "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert f"Error: dataset 'given': failed: {gone}: cannot be opened" in result.stderr
    found = read_ledger(tmp_path / "out")
    assert found["events"]["processed"] == 60
    assert found["problems"][0]["file"] == str(gone)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("train", "samples not simulated yet: made; run `hepcalib simulate` first"),
        ("process", "samples not simulated yet: made; run `hepcalib simulate` first"),
        ("plot", "histograms.json: no such file; run `hepcalib process` with the same --out"),
    ],
)
def test_steps_out_of_order_say_what_comes_first(
    configure: Command, hepcalib: Command, tmp_path: Path, command: str, message: str
) -> None:
    out = () if command == "train" else ("--out", tmp_path / "out")
    result = hepcalib(command, configure(tmp_path / "a.root"), *out)
    assert result.exit_code == 2
    assert message in result.stderr


def test_processing_needs_trained_models(
    configure: Command, cluster_file: Write, hepcalib: Command, tmp_path: Path
) -> None:
    config = configure(cluster_file(tmp_path / "a.root"))
    assert hepcalib("simulate", config).exit_code == 0
    result = hepcalib("process", config, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "no up-to-date bundle of response; run `hepcalib train` first" in result.stderr
