"""Locations, width and tails of a weighted sample, with errors from bootstrap replicas."""

from __future__ import annotations

from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from hepcalib.calibration.sample_location import binned_quantiles, sample_mean, sample_mode
from hepcalib.metrics.counts import Floats, divide

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

__all__ = [
    "QUANTITIES",
    "described",
    "drawn_cells",
    "drawn_rows",
    "effective_entries",
    "replicated",
    "spread",
]

QUANTITIES = ("mean", "median", "mode", "width", "tails", "outside")
"""What `described` finds of positive values; the width is half the distance of the 16 and 84 %
quantiles over the median, the tails are the share beyond three of these half-distances from the
median, outside is the share beyond a given factor from 1."""

_ONE_SIGMA = NormalDist().cdf(-1.0)
_TAIL = 3.0
_NEAR = 10.0  # half-distances of the quantiles: a mode is looked for no further from the median
_STREAM = 0xC105  # of the random numbers, apart from those of other uses of the same seed


def drawn_rows(rows: int, *, replicas: int, seed: int) -> NDArray[np.uint8]:
    """Return how often each replica has each row, (1 + replicas, rows); the first is the sample."""
    drawn = _random(seed).poisson(1.0, size=(replicas, rows)).astype(np.uint8)
    return np.concatenate([np.ones((1, rows), np.uint8), drawn])


def drawn_cells(values: Floats, variances: Floats, *, replicas: int, seed: int) -> Floats:
    """Return the contents of cells (...) and of their replicas, (1 + replicas, ...).

    A replica of a cell is a Poisson number, scaled to have the mean and the variance of the cell.
    """
    scale = np.nan_to_num(divide(variances, values))
    mean = np.nan_to_num(divide(values**2, variances)) * (values > 0.0)
    drawn = _random(seed).poisson(mean, size=(replicas, *values.shape)) * scale
    return np.concatenate([values.clip(min=0.0)[None], drawn])


def effective_entries(total: float, squares: float) -> float:
    """Return the squared sum of weights over the sum of squared weights."""
    return total**2 / squares if squares > 0.0 and total > 0.0 else 0.0


def described(
    values: Floats, weights: Floats, *, entries: float, minimum: float, factor: float
) -> Floats:
    """Return each of the quantities with its error, and the effective entries.

    Args:
        values: (rows,).
        weights: Weights of the sample and its replicas, (1 + replicas, rows).
        entries: Effective entries of the sample.
        minimum: A sample with fewer gives NaN.
        factor: Values further from 1 than this factor are outside.
    """
    found = replicated(
        values,
        weights,
        entries=entries,
        minimum=minimum,
        quantities=QUANTITIES,
        factor=factor,
    )
    pairs = np.stack([found[:, 0], spread(found)], axis=1)
    return np.array([*pairs.ravel(), entries])


def replicated(
    values: Floats,
    weights: Floats,
    *,
    entries: float,
    minimum: float,
    quantities: Sequence[str],
    factor: float,
) -> Floats:
    """Return quantities of the sample and its replicas, (quantities, 1 + replicas)."""
    if entries <= 0.0 or entries < minimum:
        return np.full((len(quantities), len(weights)), np.nan)
    order = np.argsort(values, kind="stable")
    x, w = values[order], weights[:, order]
    low, middle, high = binned_quantiles(x, w, [_ONE_SIGMA, 0.5, 1.0 - _ONE_SIGMA]).T
    reach = 0.5 * (high - low)
    near = np.abs(x - middle[0]) <= _NEAR * reach[0]
    outside = (x < 1.0 / factor) | (x > factor)
    functions: dict[str, Callable[[], Floats]] = {
        "mean": lambda: sample_mean(x, w),
        "median": lambda: middle,
        "mode": lambda: sample_mode(x[near], w[:, near], entries=entries),
        "width": lambda: reach / middle,
        "tails": lambda: _share(np.abs(x - middle[:, None]) > _TAIL * reach[:, None], w),
        "outside": lambda: _share(outside, w),
    }
    return np.stack([functions[quantity]() for quantity in quantities])


def spread(found: Floats) -> Floats:
    """Return the standard deviation over the replicas, behind the first place of the last axis."""
    if found.shape[-1] < 3:
        return np.full(found.shape[:-1], np.nan)
    return np.asarray(found[..., 1:].std(axis=-1, ddof=1))


def _share(chosen: NDArray[np.bool_], w: Floats) -> Floats:
    return divide((w * chosen).sum(axis=-1), w.sum(axis=-1))


def _random(seed: int) -> np.random.Generator:
    return np.random.default_rng(np.random.SeedSequence([seed, _STREAM]))
