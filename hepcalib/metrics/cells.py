"""Which part of a fine bin, or of a cell of truth and ratio, is in the bins that are shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from hepcalib.metrics.counts import Floats

__all__ = ["shares_of_reco", "shares_of_truth"]


def shares_of_truth(fine: Floats, edges: ArrayLike) -> Floats:
    """Return which part of each fine bin of the truth is in each bin, (bins, fine, 1)."""
    at, low, high = np.log(np.asarray(edges, dtype=np.float64)), np.log(fine[:-1]), np.log(fine[1:])
    below = np.clip((at[:, None] - low) / (high - low), 0.0, 1.0)
    shares: Floats = np.diff(below, axis=0)[:, :, None]
    return shares


def shares_of_reco(fine: Floats, ratio: Floats, edges: ArrayLike) -> Floats:
    """Return which part of each cell of truth and ratio is in each bin of their product.

    Even filling of both logarithms makes that of their sum a trapezoid, whose distribution function
    is a second difference of squares. What is outside the axis of the ratio is in no bin.

    Returns:
        (bins, fine, ratio + 2).
    """
    at = np.log(np.asarray(edges, dtype=np.float64))[:, None, None]
    truth, other = np.log(fine)[None, :, None], np.log(ratio)[None, None, :]
    over = 0.5 * np.clip(at - truth - other, 0.0, None) ** 2
    area = np.diff(truth, axis=1) * np.diff(other, axis=2)
    below = np.clip(np.diff(np.diff(over, axis=1), axis=2) / area, 0.0, 1.0)
    return np.pad(np.diff(below, axis=0), ((0, 0), (0, 0), (1, 1)))
