"""Tensors in files of our own, and what only looks like them."""

from __future__ import annotations

import numpy as np
import pytest
import safetensors.torch
import torch

from hepcalib.exceptions import DocumentError
from hepcalib.tensors import tensors


def header(text: bytes, rest: bytes = b"") -> bytes:
    return len(text).to_bytes(8, "little") + text + rest


def test_tensors_and_notes_come_back() -> None:
    weights = {"a": torch.arange(6.0).view(2, 3), "b": torch.tensor(data=True)}
    found = tensors(safetensors.torch.save(weights, metadata={"x": "y"}))
    assert found.notes == {"x": "y"}
    assert found.values.keys() == weights.keys()
    assert all(torch.equal(found.values[name], value) for name, value in weights.items())
    assert tensors(safetensors.torch.save(weights)).notes == {}


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        b"\0" * 8,
        (1 << 60).to_bytes(8, "little") + b"{}",
        header(b"[]"),
        header(b'{"__metadata__": []}'),
        header(b'{"__metadata__": {"a": 1}}'),
        header(b'{"a": 1}'),
        header(b'{"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}', b"\0" * 8),
        header(b'{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}', b"\0" * 4),
        header(b'{"a": {"dtype": "X", "shape": [1], "data_offsets": [0, 4]}}', b"\0" * 4),
        header(b'{"a": {"dtype": "F4", "shape": [8], "data_offsets": [0, 4]}}', b"\0" * 4),
        header(
            b'{"a": {"dtype": "F32", "shape": [9223372036854775807, 2], "data_offsets": [0, 4]}}',
            b"\0" * 4,
        ),
    ],
)
def test_what_holds_no_tensors_is_refused(stored: bytes) -> None:
    with pytest.raises(DocumentError, match="is no "):
        tensors(stored)


def test_damaged_tensors_are_tensors_or_refused() -> None:
    whole = safetensors.torch.save({"a": torch.zeros(3), "b": torch.zeros(2, 2)})
    random = np.random.default_rng(9)
    refused = 0
    for number in range(300):
        damaged = bytearray(whole)
        for place in random.integers(0, len(whole) - 28, 1 + number % 3):  # in the header
            damaged[place] = random.integers(256)
        try:
            tensors(bytes(damaged[: None if number % 5 else random.integers(len(whole))]))
        except DocumentError:
            refused += 1
    assert refused > 150
