"""Whatever bytes a configuration is, it is a document or refused in one line, at once."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from hepcalib.config.documents import DEEPEST, MOST_BYTES, read_document
from hepcalib.exceptions import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

CONFIGS = sorted((Path(__file__).parents[2] / "analysis_configs").glob("*.yaml"))


def written(folder: Path, content: str | bytes) -> Path:
    path = folder / "a.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
    return path


def refused(path: Path) -> str:
    """Return what the error of a file says, which is one printable line."""
    with pytest.raises(ConfigError) as caught:
        read_document(path)
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) <= 600
    assert message.startswith(str(path))
    return message.removeprefix(str(path))


def places_of(value: Any, key: tuple[Any, ...] = ()) -> set[tuple[Any, ...]]:
    inside: Any = value.items() if isinstance(value, dict) else ()
    inside = enumerate(value) if isinstance(value, list) else inside
    return {key}.union(*(places_of(item, (*key, name)) for name, item in inside))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_values_are_those_of_pyyaml_and_every_key_has_a_line(path: Path) -> None:
    document = read_document(path)
    assert document.values == yaml.safe_load(path.read_text(encoding="utf-8"))
    assert set(document.places) == places_of(document.values)


def test_a_merged_key_has_the_line_it_stands_in(tmp_path: Path) -> None:
    text = "a: &a\n  x: 1\n  y: {z: 2}\nb:\n  <<: *a\n  x: 3\nc:\n  <<: [*a, {x: 5, w: 6}]\n"
    found = read_document(written(tmp_path, text))
    assert found.values == yaml.safe_load(text)
    lines = {
        ".".join(map(str, key)): int(place.rpartition(":")[2])
        for key, place in found.places.items()
    }
    assert (lines["b.x"], lines["b.y"], lines["b.y.z"], lines["c.x"], lines["c.w"]) == (
        6,
        3,
        3,
        2,
        8,
    )


def test_exponents_need_no_point(tmp_path: Path) -> None:
    text = "[1e-3, -2E+4, '1e-3', 0x1F, 1_000, .5]"
    found = read_document(written(tmp_path, f"a: {text}\n")).values["a"]
    assert found == [0.001, -20000.0, "1e-3", 31, 1000, 0.5]


TENFOLD = "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9))
MERGED = "".join(f"a{i}: &a{i} {{<<: [{', '.join([f'*a{i - 1}'] * 10)}]}}\n" for i in range(1, 9))
DEEPER = "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 2000))
MANY = {
    "aliases in tens": (f"a0: &a0 [x, x]\n{TENFOLD}", "more than 100000 values"),
    "merged in tens": (f"a0: &a0 {{x: 1}}\n{MERGED}", "more than 100000 values"),
    "deep by aliases": (f"a0: &a0 []\n{DEEPER}", "deeper than"),
    "deep": (f"a: {'[' * 200}", "deeper than"),
    "deeper than libyaml goes": (f"a: {'[' * 100_000}", ""),
    "deep mappings": ("\n".join(" " * n + "a:" for n in range(DEEPEST + 5)), "deeper than"),
    "very many keys": ("".join(f"k{i}: 1\n" for i in range(100_100)), "more than 100000 values"),
    "an alias in itself": ("a: &a [*a]\n", "inside of what it stands for"),
    "a mapping in itself": ("a: &a {b: {<<: *a}}\n", "inside of what it stands for"),
    "an alias of nothing": ("a: *b\n", "undefined alias"),
    "larger than allowed": ("a: " + "x" * MOST_BYTES, "larger than 4 MiB"),
    "a number of 5000 digits": (f"a: {'1' * 5000}\n", "quote it"),
    "a number in sixties": (f"a: 1{':10' * 100_000}\n", "quote it"),
    "no digits": ("a: 0x_\n", "is no int"),
    "a date": ("a: 2026-01-31\n", "is a date; quote it"),
    "no date": ("a: 2026-99-99\n", "is a date; quote it"),
    "a time": ("a: 2001-12-14t21:59:43.10-05:00\n", "is a date; quote it"),
    "an int that is none": ("a: !!int x\n", "is no int"),
    "an empty int": ("a: !!int ''\n", "is no int"),
    "a float that is none": ("a: !!float x\n", "is no float"),
    "a bool that is none": ("a: !!bool x\n", "is no bool"),
    "a timestamp": ("a: !!timestamp x\n", "is a date"),
    "a set": ("a: !!set {x, y}\n", "the tag"),
    "pairs": ("a: !!pairs [x: 1]\n", "the tag"),
    "bytes": ("a: !!binary aGVsbG8=\n", "unknown tag"),
    "an object": ("a: !!python/object/apply:os.system [ls]\n", "the tag"),
    "a tag of its own": ("a: !mine x\n", "unknown tag"),
    "a key twice": ("a: {b: 1, b: 2}\n", "a.b: given twice"),
    "a key twice, both numbers": ("a: {1: 1, 0x1: 2}\n", "given twice"),
    "merged twice": ("a: {<<: {x: 1}, <<: {y: 1}}\n", "'<<' is given twice"),
    "a merged text": ("a: {<<: x}\n", "needed: a mapping"),
    "merged texts": ("a: {<<: [x, y]}\n", "needed: a mapping"),
    "a list as key": ("? [a, b]\n: 1\n", "no text or number"),
    "a mapping as key": ("a: {{b: 1}: 1}\n", "no text or number"),
    "null as key": ("a: {null: 1}\n", "no text or number"),
    "a truth as key": ("a: {yes: 1}\n", "'yes' is no text or number"),
    "nan as key": ("a: {.nan: 1}\n", "no text or number"),
    "an escape character": ('a: "\\e[31m"\n', "control characters"),
    "an escaped NUL": ('a: "x\\0y"\n', "control characters"),
    "NUL": ("a: x\x00y\n", "is no valid YAML"),
    "two documents": ("a: 1\n---\na: 2\n", ":2: begins another document"),
    "an empty document before": ("---\n---\na: 1\n", "begins another document"),
    "nothing": ("", "holds nothing"),
    "a comment": ("# only this\n", "holds nothing"),
    "a list": ("- 1\n", "holds a list"),
    "a number": ("42\n", "holds a single value"),
    "an open list": ("x: 1\na: [1\n", ":3: is no valid YAML"),
    "a tab": ("a:\n\t- 1\n", "is no valid YAML"),
    "Latin-1": ("a: é\n".encode("latin-1"), "cannot be read: 'utf-8'"),
    "UTF-16": ("a: 1\n".encode("utf-16"), "cannot be read"),
    "random bytes": (bytes(range(256)) * 50, "cannot be read"),
}


@pytest.mark.timeout(20)
@pytest.mark.parametrize(("content", "expected"), MANY.values(), ids=MANY.keys())
def test_what_is_no_configuration(tmp_path: Path, content: str | bytes, expected: str) -> None:
    assert expected in refused(written(tmp_path, content))


def folder(path: Path) -> None:
    path.mkdir()


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def loop(path: Path) -> None:
    path.symlink_to(path)


@pytest.mark.timeout(10)
@pytest.mark.parametrize("make", [folder, os.mkfifo, device, loop, Path.absolute])
def test_what_is_no_file(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "a.yaml"
    make(path)
    assert ": cannot be read: " in refused(path)


def test_a_path_that_no_file_can_have() -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_document(Path("a\x00b"))
    with pytest.raises(ConfigError, match="cannot be read"):
        read_document(Path("a" * 5000))


def test_aliases_take_no_memory(tmp_path: Path) -> None:
    path = written(tmp_path, f"a0: &a0 [x, x]\n{TENFOLD}")
    tracemalloc.start()
    refused(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * MOST_BYTES


def test_many_files_fit(tmp_path: Path) -> None:
    files = "\n".join(f"  - /some/folder/of/some/length/file_{i:06}.root" for i in range(5_000))
    assert len(read_document(written(tmp_path, f"files:\n{files}\n")).values["files"]) == 5_000
