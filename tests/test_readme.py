"""The README's example and configuration run, and its tables say what is there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import numpy as np
import pytest

from hepcalib import inference, ntuples
from hepcalib.cli import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    fence = rf"^```{language}\n(.*?)^```$"
    return re.findall(fence, README, flags=re.DOTALL | re.MULTILINE)


def run(folder: Path, *arguments: str) -> str:
    """Run Python in a folder; return what it printed."""
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the example has run."""
    path = tmp_path_factory.mktemp("readme")
    (path / "example.py").write_text(blocks("python")[0], encoding="utf-8")
    (path / "printed.txt").write_text(run(path, "example.py"), encoding="utf-8")
    return path


def test_example_improves_the_response(folder: Path) -> None:
    printed = (folder / "printed.txt").read_text(encoding="utf-8")
    before, after = (float(x) for x in re.findall(r"(\d\.\d+) (?:before|after)", printed))
    # 4000 clusters: a spread is known to 1 / sqrt(8000) = 1.1 %; the tails make it twice that.
    assert 0.1 < after < 0.9 * before


def test_configuration_runs_and_the_output_is_as_listed(folder: Path) -> None:
    (folder / "clusters.yaml").write_text(blocks("yaml")[0], encoding="utf-8")
    run(folder, "-m", "hepcalib", "run", "clusters.yaml", "--executor", "iterative")
    out = folder / "out" / "clusters"
    listed = README.partition("## The output directory")[2].partition("**The ledger.**")[0]
    patterns = {p for row in listed.splitlines() for p in re.findall(r"`([\w*/-]+\.\w+)`", row)}
    found = {p.relative_to(out) for p in out.rglob("*") if p.is_file()}
    assert all(any(file.match(pattern) for file in found) for pattern in patterns)
    assert all(any(file.match(pattern) for pattern in patterns) for file in found)
    ledger = json.loads((out / "ledger.json").read_text(encoding="utf-8"))
    assert ledger["balanced"] is True
    assert ledger["datasets"]["clusters"]["events"]["processed"] == 20_000


def test_three_lines_of_a_processor(folder: Path) -> None:
    handle = inference.Handle.of(folder / "calibration")
    with ntuples.open_events(folder / "clusters.root", "cluster_tree", stop=100) as events:
        scope: dict[str, Any] = {
            "ntuples": ntuples,
            "inference": inference,
            "events": events,
            "self": SimpleNamespace(calibration=handle),
        }
        exec(blocks("python")[1], scope)
    energy = np.asarray(scope["energy"])
    assert energy.shape == (100,)
    assert np.all(energy > 0)


def test_commands_exist() -> None:
    made = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    lines = [
        line.partition("#")[0].split() for block in blocks("bash") for line in block.splitlines()
    ]
    targets = [words[1] for words in lines if words[0] == "make"]
    assert set(targets) <= set(made)
    calls = [words[1:] for words in lines if words[0] == "hepcalib"]
    assert calls
    for name, *arguments in calls:
        command = main.commands[name]
        command.make_context(name, list(arguments))
    assert [words for words in lines if words[0] == "pip"] == [
        ["pip", "install", "--constraint", "constraints.txt", "'.[boosting,dask,onnx,pythia]'"]
    ]


def test_unknown_option_is_no_command() -> None:
    with pytest.raises(click.NoSuchOption):
        main.commands["run"].make_context("run", ["x.yaml", "--ouptut", "x"])


def test_every_dependency_has_a_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras: dict[str, list[str]] = project["project"]["optional-dependencies"]
    needed = {name_of(x) for x in project["project"]["dependencies"]}
    for extra, requirements in extras.items():
        names = {name_of(x) for x in requirements} - {"hepcalib"}
        needed |= {f"*extra `{extra}`:* {name}" for name in names}
    needed |= {f"*build:* {name_of(x)}" for x in project["build-system"]["requires"]}
    table = README.partition("## Dependencies")[2].partition("## More")[0]
    rows = [line.split("|")[1:-1] for line in table.splitlines() if line.startswith("|")][2:]
    assert {row[0].strip() for row in rows} == needed
    assert all(row[1].strip() for row in rows)


def name_of(requirement: str) -> str:
    found = re.match(r"[\w-]+", requirement)
    assert found is not None
    return found[0]
