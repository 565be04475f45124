"""Monotone curves through points: smooth, and straight beyond the ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["monotone_curve"]

Floats: TypeAlias = NDArray[np.float64]


def monotone_curve(at: ArrayLike, nodes: ArrayLike, heights: ArrayLike) -> tuple[Floats, Floats]:
    r"""Return the monotone cubic through increasing points, and its slope.

    Between two nodes it is the cubic with the slopes there; the slope at a node is the weighted
    harmonic mean of those of the two chords, which keeps the curve monotone. Beyond the ends it is
    straight.

    .. math:: \frac{3 (h_{k-1} + h_k)}{d_k} =
        \frac{2 h_k + h_{k-1}}{\delta_{k-1}} + \frac{h_k + 2 h_{k-1}}{\delta_k}

    Args:
        at: Where to evaluate (rows,).
        nodes: Strictly increasing (nodes,), at least two.
        heights: Strictly increasing (nodes,).

    Returns:
        Height and slope at each place, (rows,) each.
    """
    x, y = np.asarray(nodes, dtype=np.float64), np.asarray(heights, dtype=np.float64)
    points = np.asarray(at, dtype=np.float64)
    slopes = _slopes(np.diff(x), np.diff(y))
    left = np.clip(np.searchsorted(x, points, side="right") - 1, 0, len(x) - 2)
    width = x[left + 1] - x[left]
    t = np.clip((points - x[left]) / width, 0.0, 1.0)
    chord = (y[left + 1] - y[left]) / width
    first, second = slopes[left] - chord, slopes[left + 1] - chord
    height = y[left] + width * t * (chord + (1.0 - t) * (first * (1.0 - t) - second * t))
    slope = chord + first * (1.0 - t) * (1.0 - 3.0 * t) - second * t * (2.0 - 3.0 * t)
    beyond = points - np.clip(points, x[0], x[-1])
    return height + slope * beyond, slope


def _slopes(widths: Floats, rises: Floats) -> Floats:
    """Return the slope at each node; at the ends that of the parabola, kept positive."""
    chords = rises / widths
    if len(chords) == 1:
        return np.repeat(chords, 2)
    weights = 2.0 * widths[1:] + widths[:-1], widths[1:] + 2.0 * widths[:-1]
    inner = sum(weights) / (weights[0] / chords[:-1] + weights[1] / chords[1:])
    ends = [
        np.clip(
            ((2.0 * h + beside) * chord - h * next_) / (h + beside),
            0.1 * chord,
            3.0 * chord,
        )
        for h, beside, chord, next_ in (
            (widths[0], widths[1], chords[0], chords[1]),
            (widths[-1], widths[-2], chords[-1], chords[-2]),
        )
    ]
    return np.concatenate([[ends[0]], inner, [ends[1]]])
