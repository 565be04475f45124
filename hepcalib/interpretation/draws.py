"""Random numbers decided by a key per row, whatever the order and number of the rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import ndtri

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

__all__ = ["LARGEST", "keyed_normals", "keyed_uniforms"]

LARGEST = 8.3
"""Largest absolute value of `keyed_normals`."""

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def keyed_uniforms(*key: ArrayLike) -> NDArray[np.float64]:
    """Return a number in (0, 1) for each key, the same one for the same key.

    Args:
        key: Whole numbers, such as seed, run, event, index and replica; arrays of shapes that
            broadcast.

    Returns:
        Numbers of the common shape.
    """
    parts = np.broadcast_arrays(*(np.asarray(part).astype(np.int64) for part in key))
    mixed = np.zeros(parts[0].shape, dtype=np.uint64)
    for part in parts:
        mixed = _mixed((mixed ^ part.view(np.uint64)) + _GOLDEN)
    # 52 bits and a half: the largest is below 1, the smallest above 0, both as far.
    return ((mixed >> np.uint64(12)).astype(np.float64) + 0.5) / 2.0**52


def keyed_normals(*key: ArrayLike) -> NDArray[np.float64]:
    """Return a standard normal number for each key, the same one for the same key.

    Args:
        key: As of `keyed_uniforms`.
    """
    return np.asarray(ndtri(keyed_uniforms(*key)))


def _mixed(x: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return 64 bits that each depend on all of the input's: the finaliser of splitmix64."""
    x = (x ^ (x >> np.uint64(30))) * _FIRST
    x = (x ^ (x >> np.uint64(27))) * _SECOND
    return x ^ (x >> np.uint64(31))
