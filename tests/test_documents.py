"""Files of our own: any bytes give a value or one error, in little time and memory."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hepcalib import documents
from hepcalib.exceptions import DocumentError
from hepcalib.tensors import tensors

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
) | st.floats(allow_nan=False, allow_infinity=False)


@given(VALUES, st.booleans())
@settings(max_examples=40, deadline=None)
def test_what_json_writes_is_read(value: Any, ascii_only: bool) -> None:
    try:
        text = json.dumps(value, ensure_ascii=ascii_only).encode()
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return
    assert documents.parsed(text) == value


LIKE_JSON = st.text(alphabet='[]{}",:\\u0001eE+-.tru"nul NaInfity').map(str.encode)


@given(st.binary(max_size=40) | LIKE_JSON)
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_a_value_or_an_error(text: bytes) -> None:
    for read in (documents.parsed, tensors):
        with suppress(DocumentError):  # and no other error
            read(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "is no JSON"),
        (b"\xff\xfe{}", "utf-8"),
        ('{"a": 1}'.encode("utf-16"), "is no JSON"),
        ("\ufeff{}".encode(), "BOM"),
        (b'{"x": NaN}', "NaN is not finite"),
        (b'{"x": -Infinity}', "-Infinity is not finite"),
        (b'{"x": 1e999}', "1e999 is not finite"),
        (b'{"x": 1, "x": 2}', "the key 'x' is there twice"),
        (b"9" * 21, "21 digits"),
        (b"9" * 10_000, "10000 digits"),
        (b"[" * 65 + b"]" * 65, "nested more than 64 deep"),
        (b"[" * 1_000_000, "nested more than 64 deep"),
        (b"[" + b"[]," * 2**20 + b"0]", "1,048,576 parts"),
        (b'"\\ud800"', "surrogates not allowed"),
        (b"{} {}", "Extra data"),
        (b"1_000", "Extra data"),
        (b'"\n"', "control character"),
    ],
)
def test_what_is_no_json_is_refused(text: bytes, message: str) -> None:
    with pytest.raises(DocumentError, match=message):
        documents.parsed(text)


def test_brackets_in_strings_do_not_count() -> None:
    text = ("[" * 200 + '"\\') * 3
    assert documents.parsed(json.dumps({text: text}).encode()) == {text: text}
    assert documents.parsed(b"[" * 64 + b"]" * 64)
    quotes = b'"' + b'\\"' * 200_000  # one string that never ends
    with pytest.raises(DocumentError, match="Unterminated string"):
        documents.parsed(quotes)


def test_numbers_that_are_not_finite_can_be_allowed() -> None:
    found = documents.parsed(b"[NaN, -Infinity, 1e999, 0.5]", finite=False)
    np.testing.assert_array_equal(found, [np.nan, -np.inf, np.inf, 0.5])


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_bytes(b"[1, 2]")
    assert documents.read(file, limit=6) == [1, 2]
    with pytest.raises(DocumentError, match="is larger than 5 bytes"):
        documents.content(file, limit=5)
    with file.open("r+b") as opened:
        opened.truncate(1 << 40)  # a hole
    with pytest.raises(DocumentError, match="is larger than"):
        documents.content(file, limit=1 << 20)


NO_FILES: dict[str, Callable[[Path], Any]] = {
    "nothing": lambda _: None,
    "a folder": lambda path: path.mkdir(),
    "a pipe": os.mkfifo,
    "zeros": lambda path: path.symlink_to("/dev/zero"),
    "nowhere": lambda path: path.symlink_to("nowhere"),
    "a circle": lambda path: path.symlink_to(path.name),
}


@pytest.mark.skipif(sys.platform == "win32", reason="it has no pipes in folders")
@pytest.mark.parametrize("name", NO_FILES)
def test_what_is_no_file_is_refused(name: str, tmp_path: Path) -> None:
    NO_FILES[name](tmp_path / "a")
    with pytest.raises(DocumentError, match="cannot be read: ") as refused:
        documents.content(tmp_path / "a", limit=10)
    assert refused.value.missing == (name in {"nothing", "nowhere"})


def test_a_path_that_cannot_be_is_refused() -> None:
    with pytest.raises(DocumentError, match="null byte"):
        documents.content("a\0b", limit=10)
