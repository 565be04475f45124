from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner, Result

import hepcalib
from hepcalib import bundles
from hepcalib.cli import main
from hepcalib.exceptions import RunError
from hepcalib.features import Inputs
from hepcalib.features.clusters import FEATURES
from hepcalib.models import MLP, MixtureHead
from hepcalib.pipeline import stages

if TYPE_CHECKING:
    from pathlib import Path

COMMANDS = ("export", "plot", "process", "run", "simulate", "train")
CONFIG = {
    "version": 1,
    "name": "small",
    "samples": {"made": {"kind": "topoclusters", "clusters": 30, "seed": 1}},
    "datasets": {"clusters": {"sample": "made"}},
    "models": {
        "response": {
            "kind": "response",
            "object": "cluster",
            "datasets": ["clusters"],
            "inputs": {"features": ["cluster.energy"]},
            "network": {"name": "MLP", "head": {"name": "NormalHead"}},
        }
    },
    "analyses": {
        "study": {
            "processor": "processors:ClusterCalibration",
            "datasets": ["clusters"],
            "models": {"calibration": "response"},
        }
    },
}


def invoke(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    document = {**CONFIG, "workspace": str(tmp_path / "workspace")}
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    return path


def test_help_lists_the_commands() -> None:
    result = invoke("--help")
    assert result.exit_code == 0
    assert tuple(sorted(main.commands)) == COMMANDS
    assert all(f"  {command} " in result.stdout for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_each_command(command: str) -> None:
    result = invoke(command, "--help")
    assert result.exit_code == 0
    argument = "BUNDLE" if command == "export" else "CONFIG"
    assert result.stdout.startswith(f"Usage: main {command} [OPTIONS] {argument}")
    assert ("--data" in result.stdout) == (command != "export")
    assert ("--out" in result.stdout) == (command in {"run", "process", "plot"})
    assert ("--executor" in result.stdout) == (command in {"run", "process"})


def test_version() -> None:
    result = invoke("--version")
    assert result.exit_code == 0
    assert hepcalib.__version__ in result.stdout


def test_help_is_quick_and_loads_no_heavy_library() -> None:
    code = (
        "import sys\nfrom hepcalib.cli import main\n"
        "main(['run', '--help'], standalone_mode=False)\n"
        "print({'torch', 'coffea', 'awkward', 'matplotlib'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.endswith("set()\n")


def test_dry_run_tells_the_plan_and_does_nothing(config: Path, tmp_path: Path) -> None:
    result = invoke("run", config, "--dry-run")
    assert result.exit_code == 0, result.output
    rows = [line.split() for line in result.stdout.splitlines()]
    for step, name, state in (("simulate", "made", "to"), ("train", "response", "to")):
        assert any(row[1:6:2] == [step, name, state] for row in rows)
    assert [path.name for path in tmp_path.iterdir()] == ["small.yaml"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--executor", "condor"), "'condor' is not one of 'iterative', 'futures', 'dask'"),
        (("--workers", "0"), "0 is not in the range x>=1"),
        (("--chunk-size", "0"), "0 is not in the range x>=1"),
        (("--max-events", "many"), "'many' is not a valid integer"),
        (("--wrokers", "2"), "No such option"),
    ],
)
def test_options_out_of_range(config: Path, arguments: tuple[str, str], message: str) -> None:
    result = invoke("run", config, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


def test_a_missing_configuration_is_named(tmp_path: Path) -> None:
    result = invoke("run", tmp_path / "none.yaml")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"Error: {tmp_path / 'none.yaml'}: cannot be read")


def test_options_reach_the_steps(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    def fake(loaded: Any, *, out: Path, console: Any, force: bool) -> None:
        assert console is not None
        seen.append((loaded.config.run, out, force))

    monkeypatch.setattr(stages, "process", fake)
    arguments = ("--executor", "dask", "--workers", "3", "--chunk-size", "7")
    more = ("--max-events", "9", "--address", "tcp://there:1", "--out", tmp_path / "out", "--force")
    assert invoke("process", config, *arguments, *more).exit_code == 0
    ((options, out, force),) = seen
    assert force
    assert options.model_dump() == {
        "executor": "dask",
        "workers": 3,
        "chunk_size": 7,
        "max_events": 9,
        "address": "tcp://there:1",
        "retries": 2,
    }
    assert out == tmp_path / "out"


def test_output_goes_to_a_folder_of_its_own_by_default(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def fake(loaded: Any, *, out: Path, console: Any) -> None:
        assert (loaded.config.name, console is None) == ("small", False)
        seen.append(out.as_posix())

    monkeypatch.setattr(stages, "plot", fake)
    assert invoke("plot", config).exit_code == 0
    text = config.read_text(encoding="utf-8")
    config.write_text(text + "output: elsewhere\n", encoding="utf-8")
    assert invoke("plot", config).exit_code == 0
    assert seen == ["out/small", "elsewhere"]


def test_errors_of_a_step_become_an_exit_code(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        msg = "the scheduler does not answer"
        raise RunError(msg)

    monkeypatch.setattr(stages, "simulate", fail)
    result = invoke("simulate", config)
    assert (result.exit_code, result.stderr) == (2, "Error: the scheduler does not answer\n")


def test_export_writes_a_network_or_says_what_is_wrong(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    columns = {
        name: np.geomspace(1.0, 9.0, 50, dtype=np.float32)
        for feature in FEATURES
        for name in feature.needs
    }
    inputs = Inputs(features=[f"cluster.{feature.name}" for feature in FEATURES])
    inputs.fit(inputs.extract(columns))
    model = MLP(features=15, hidden=(8,), head=MixtureHead())
    bundles.save(tmp_path / "made", model, inputs, kind="response", object="cluster", name="made")
    file = tmp_path / "made.onnx"
    result = invoke("export", tmp_path / "made", "--onnx", file, "--raw-inputs")
    assert result.exit_code == 0, result.output
    assert file.stat().st_size > 0
    missing = invoke("export", tmp_path / "none", "--onnx", file)
    assert missing.exit_code == 2
    assert "bundle.json: cannot be read" in missing.stderr
