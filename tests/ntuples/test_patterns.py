from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from hepcalib.exceptions import NtupleError
from hepcalib.ntuples.patterns import matching

if TYPE_CHECKING:
    from pathlib import Path

FILES = (
    "top.root",
    "0000/a.root",
    "0000/a.txt",
    "0001/more/b.root",
    "0001/more/.c.root",
    ".hidden/d.root",
    "more/more/e.root",
    "brackets[1].root",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.root", ["brackets[1].root", "top.root"]),
        ("*/*.root", ["0000/a.root"]),
        ("000?/**/*.root", ["0000/a.root", "0001/more/b.root"]),
        ("0000/**", ["0000/a.root", "0000/a.txt"]),
        ("**/more/*.root", ["0001/more/b.root", "more/more/e.root"]),
        ("more/more/**/*.root", ["more/more/e.root"]),
        ("**/**/b.root", ["0001/more/b.root"]),
        ("**/.*.root", ["0001/more/.c.root"]),
        (".hidden/*.root", [".hidden/d.root"]),
        ("[!b]*.root", ["top.root"]),
        ("brackets[1].root", ["brackets[1].root"]),
        ("nothing/**/*.root", []),
        ("top.root/*", []),
    ],
)
def test_patterns(
    folder: Path, monkeypatch: pytest.MonkeyPatch, pattern: str, expected: list[str]
) -> None:
    assert [str(p.relative_to(folder)) for p in matching(str(folder / pattern))] == expected
    monkeypatch.chdir(folder)
    assert [str(path) for path in matching(pattern)] == expected


def test_any_depth_finds_every_visible_file_once(folder: Path) -> None:
    names = [p.relative_to(folder).as_posix() for p in matching(f"{folder}/**/*.root")]
    visible = [name for name in FILES if name.endswith(".root") and "." not in (name[0],)]
    assert names == sorted(name for name in visible if "/." not in name)


def test_links_are_followed_but_not_in_a_circle(folder: Path) -> None:
    before = matching(f"{folder}/**/*.root")
    (folder / "0000" / "up").symlink_to(folder)
    (folder / "0000" / "again").symlink_to(folder)
    (folder / "zz").symlink_to(folder / "0001")
    (folder / "zz.root").symlink_to(folder / "top.root")
    names = [os.path.realpath(path) for path in matching(f"{folder}/**/*.root")]
    assert sorted(names) == sorted(os.path.realpath(path) for path in before)


def test_a_broken_link_is_not_lost(folder: Path) -> None:
    (folder / "gone.root").symlink_to(folder / "nowhere.root")
    assert folder / "gone.root" in matching(f"{folder}/*.root")
    assert folder / "gone.root" in matching(f"{folder}/**/*.root")


def test_a_folder_that_cannot_be_listed_is_an_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("pathlib.Path.iterdir", refuse)
    with pytest.raises(NtupleError, match=rf"{folder}: cannot be looked into: Permission denied"):
        matching(f"{folder}/*.root")
