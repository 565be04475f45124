"""Only what hepcalib wrote is replaced or removed, whatever the folder or its list says."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from typing import TYPE_CHECKING

import pytest

from hepcalib.exceptions import RunError
from hepcalib.pipeline.folder import MANIFEST, OutputFolder

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A folder with the outputs of a run."""
    folder = OutputFolder(tmp_path / "out")
    folder.write("config.yaml", "name: a\n")
    folder.write("figures/a.png", "drawn")
    return tmp_path / "out"


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_a_folder_of_ours_is_emptied(out: Path) -> None:
    part = out / "columns" / "a" / "d" / "000000-6ac7019c29-0-100.npz"
    part.parent.mkdir(parents=True)
    part.touch()
    (out / ".hepcalib-ledger-x.json").touch()  # of a run that was killed
    folder = OutputFolder(out)
    folder.examine()
    folder.clear()
    assert [path.name for path in out.rglob("*")] == [MANIFEST]


@pytest.mark.parametrize(
    "name", ["notes.txt", "figures/own.pdf", "columns/a/d/own.parquet", ".hidden", "data/deep/x"]
)
def test_foreign_files_need_force_and_stay(out: Path, name: str) -> None:
    (out / name).parent.mkdir(parents=True, exist_ok=True)
    (out / name).write_text("mine")
    with pytest.raises(RunError, match=f"hepcalib did not write, or was changed since: {name}"):
        OutputFolder(out).examine()
    folder = OutputFolder(out)
    folder.examine(force=True)
    folder.clear()
    assert (out / name).read_text() == "mine"
    assert not (out / "config.yaml").exists()


def test_a_file_of_ours_that_was_changed_is_foreign(out: Path) -> None:
    (out / "config.yaml").write_text("name: mine\n")
    with pytest.raises(RunError, match=r"changed since: config\.yaml"):
        OutputFolder(out).examine()
    folder = OutputFolder(out)
    folder.clear()
    with pytest.raises(RunError, match=r"config\.yaml: is not from hepcalib"):
        folder.write("config.yaml", "name: a\n")
    assert (out / "config.yaml").read_text() == "name: mine\n"


@pytest.mark.parametrize(
    "name", ["../mine", "/etc/hostname", "figures/../../mine", "figures//a.png", ".", "a\0b", ""]
)
def test_a_list_that_leads_elsewhere_is_refused(out: Path, name: str) -> None:
    (out.parent / "mine").write_text("mine")
    document = {"version": 1, "sha256": {name: digest("mine")}}
    (out / MANIFEST).write_text(json.dumps(document))
    with pytest.raises(RunError, match="is no list of hepcalib"):
        OutputFolder(out)
    assert (out.parent / "mine").read_text() == "mine"


@pytest.mark.parametrize("text", ["", "{}", "[1]", "[" * 100_000, '{"version": 2, "sha256": {}}'])
def test_a_damaged_list_is_refused(out: Path, text: str) -> None:
    (out / MANIFEST).write_text(text)
    with pytest.raises(RunError, match="is no list of hepcalib"):
        OutputFolder(out)


def test_links_are_never_followed(out: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    (out / "figures").rename(elsewhere)
    (out / "figures").symlink_to(elsewhere)
    folder = OutputFolder(out)
    with pytest.raises(RunError, match="changed since: figures"):
        folder.examine()
    folder.clear()
    assert (elsewhere / "a.png").read_text() == "drawn"
    with pytest.raises(RunError, match="figures: is not from hepcalib"):
        folder.write("figures/b.png", "new")


def test_a_linked_folder_is_the_folder(out: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(out)
    folder = OutputFolder(tmp_path / "link")
    folder.examine()
    folder.write("ledger.json", "{}")
    assert (out / "ledger.json").exists()


@pytest.mark.parametrize("kind", ["file", "below a file", "dangling link", "workspace", "too long"])
def test_what_is_no_folder_is_refused(tmp_path: Path, kind: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "gone")
    place = {
        "file": tmp_path / "file",
        "below a file": tmp_path / "file" / "out",
        "dangling link": tmp_path / "link",
        "workspace": tmp_path / "workspace",
        "too long": tmp_path / ("x" * 300),
    }[kind]
    with pytest.raises(RunError, match=str(place)):
        OutputFolder(place, workspace=tmp_path / "workspace").examine()


def test_the_workspace_inside_is_not_foreign(out: Path) -> None:
    (out / "workspace").mkdir()
    (out / "workspace" / "sample.root").touch()
    OutputFolder(out, workspace=out / "workspace").examine()
    with pytest.raises(RunError, match=r"workspace/sample\.root"):
        OutputFolder(out).examine()


def test_a_file_appears_whole_or_not_at_all(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = OutputFolder(out)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match="cannot be written: No space left on device"):
        folder.write("ledger.json", "{}")
    assert not (out / "ledger.json").exists()
    assert not list(out.glob(".hepcalib-*"))


def earlier(folder: Path) -> None:
    """Write what earlier versions left, without a list."""
    text = "analyses: {study: {}}\nmodels: {m: {}}\n"
    (folder / "figures").mkdir(parents=True)
    (folder / "config.yaml").write_text(text)
    (folder / "provenance.json").write_text(json.dumps({"config_sha256": digest(text)}))
    for name in ("ledger.json", "figures/study_x.png", "figures/training_m.pdf"):
        (folder / name).touch()


def test_a_folder_of_an_earlier_version_is_known_by_its_provenance(tmp_path: Path) -> None:
    earlier(tmp_path)
    folder = OutputFolder(tmp_path)
    folder.examine()
    folder.clear()
    assert list(tmp_path.iterdir()) == []


def test_what_an_earlier_version_would_not_have_named_so_stays(tmp_path: Path) -> None:
    earlier(tmp_path)
    (tmp_path / "figures" / "own.pdf").touch()
    with pytest.raises(RunError, match=r"figures/own\.pdf"):
        OutputFolder(tmp_path).examine()
    OutputFolder(tmp_path).clear()
    assert [path.name for path in tmp_path.rglob("*")] == ["figures", "own.pdf"]


def test_another_config_beside_the_provenance_is_foreign(tmp_path: Path) -> None:
    earlier(tmp_path)
    (tmp_path / "config.yaml").write_text("# mine\n")
    with pytest.raises(RunError, match=r"config\.yaml"):
        OutputFolder(tmp_path).examine()
    OutputFolder(tmp_path).clear()
    assert (tmp_path / "ledger.json").exists()
