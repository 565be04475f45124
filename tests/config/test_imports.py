"""Models from other files: those may be anything, and may point anywhere."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from hepcalib.config import load
from hepcalib.config.imports import read_with_imports
from hepcalib.exceptions import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

HEAD = "version: 1\nname: a\ndatasets: {d: {files: [a.root], layout: cluster_tree}}\nanalyses: {}\n"


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def refused(folder: Path, models: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(written(folder, "a.yaml", f"{HEAD}models: {models}\n"))
    assert str(caught.value).isprintable()
    return str(caught.value)


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    ("models", "expected"),
    [
        ("{m: {from: a.yaml}}", "takes models from this file, or is it"),
        ("{m: {from: ./../x/../a.yaml}}", "cannot be read"),
        ("{m: {from: b.yaml}}", "takes models from this file, or is it"),
        ("{m: {from: link.yaml}}", "takes models from this file, or is it"),
        ("{m: {from: nowhere.yaml}}", "nowhere.yaml: cannot be read"),
        ("{m: {from: .}}", "no regular file"),
        ("{m: {from: /dev/zero}}", "no regular file"),
        ("{m: {from: pipe}}", "no regular file"),
        ("{m: {from: 3}}", "models.m.from: got 3; needed: the name of a file"),
        ("{m: {from: [a.yaml]}}", "needed: the name of a file"),
        ("{m: {from: ''}}", "no regular file"),
        ("{m: {from: b.yaml, kind: tagger}}", "has no keys of its own"),
        ("{m: {from: number.yaml}}", "number.yaml:1: models: got a int"),
        ("{m: {from: list.yaml}}", "list.yaml:1: models: got a list"),
        ("{m: {from: odd.yaml}}", "models.m"),
        ("{o: {from: odd.yaml}}", "odd.yaml:3: models.o"),
        ("{p: {from: odd.yaml}}", "odd.yaml:4: models.p"),
        ("calibration", "models: got a str"),
        ("{m: calibration}", "A model should be a mapping"),
        ("{m: null}", "A model should be a mapping"),
        ("{m: [x]}", "A model should be a mapping"),
    ],
)
def test_what_cannot_be_taken(tmp_path: Path, models: str, expected: str) -> None:
    written(tmp_path, "b.yaml", "models: {n: {from: a.yaml}}\n")
    written(tmp_path, "number.yaml", "models: 3\n")
    written(tmp_path, "list.yaml", "models: [m]\n")
    odd = "models:\n  m: {datasets: 5}\n  o: {datasets: [[x], {y: 1}]}\n  p: 3\n"
    written(tmp_path, "odd.yaml", odd)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link.yaml").symlink_to("a.yaml")
    assert expected in refused(tmp_path, models)


@pytest.mark.timeout(10)
def test_a_file_is_read_once_however_many_models_are_of_it(tmp_path: Path) -> None:
    # Read again for each model, a chain of 15 files with 4 models each would be read 4^15 times.
    for number in range(15):
        models = ", ".join(f"m{k}: {{from: {number + 1}.yaml}}" for k in range(4))
        written(tmp_path, f"{number}.yaml", f"models: {{{models}}}\n")
    models = ", ".join(f"m{k}: {{bundle: b{k}}}" for k in range(4))
    written(tmp_path, "15.yaml", f"models: {{{models}}}\n")
    found = read_with_imports(tmp_path / "0.yaml")
    assert found.values["models"]["m3"] == {"bundle": "b3"}
    assert found.places["models", "m3", "bundle"] == f"{tmp_path / '15.yaml'}:1"


@pytest.mark.timeout(10)
def test_too_many_files_in_a_row(tmp_path: Path) -> None:
    for number in range(40):
        written(tmp_path, f"{number}.yaml", f"models: {{m: {{from: {number + 1}.yaml}}}}\n")
    with pytest.raises(ConfigError, match="files in a row"):
        load(tmp_path / "0.yaml")
