from __future__ import annotations

import importlib
import json
import sys
from typing import TYPE_CHECKING

import pytest

from hepcalib.run.origin import is_installed

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "name",
    ["sys", "json.decoder", "numpy", "coffea.processor", "hepcalib.run", "hepcalib.processors"],
)
def test_what_workers_have(name: str) -> None:
    assert is_installed(importlib.import_module(name))


@pytest.mark.parametrize("name", ["processors", "statistics", "fsspec", "my_own"])
@pytest.mark.parametrize("kind", ["package", "module", "namespace"])
def test_the_files_decide_and_not_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, kind: str
) -> None:
    for loaded in [n for n in sys.modules if n.partition(".")[0] == name]:
        monkeypatch.delitem(sys.modules, loaded)
    if kind == "module":
        (tmp_path / f"{name}.py").touch()
    else:
        (tmp_path / name).mkdir()
        (tmp_path / name / "part.py").touch()
        if kind == "package":
            (tmp_path / name / "__init__.py").touch()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    importlib.invalidate_caches()
    found = importlib.import_module(name if kind == "module" else f"{name}.part")
    assert not is_installed(found)
    for loaded in [n for n in sys.modules if n.partition(".")[0] == name]:
        monkeypatch.delitem(sys.modules, loaded)


def test_an_installation_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "src" / "in_place").mkdir(parents=True)
    (tmp_path / "src" / "in_place" / "__init__.py").touch()
    info = tmp_path / "site" / "in_place-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: in_place\nVersion: 1\n")
    (info / "top_level.txt").write_text("in_place\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.syspath_prepend(tmp_path / "src")
    found = importlib.import_module("in_place")
    assert not is_installed(found)
    url = {"url": tmp_path.as_uri(), "dir_info": {"editable": True}}
    (info / "direct_url.json").write_text(json.dumps(url))
    assert is_installed(found)
    monkeypatch.delitem(sys.modules, "in_place")
