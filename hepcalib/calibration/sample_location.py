"""Mean, quantiles and modes of weighted samples, several sets of weights at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["sample_mean", "sample_mode", "sample_quantiles"]

Floats: TypeAlias = NDArray[np.float64]

_BINS = 4096  # of the density estimate of a large sample
GRID = 512  # points where the density is evaluated, twice
_REACH = 5.0  # bandwidths beyond which a normal kernel counts as zero


def sample_mean(values: ArrayLike, weight: ArrayLike | None = None) -> Floats:
    """Return the weighted mean.

    Args:
        values: (rows,).
        weight: Weights (..., rows); 1 when None.

    Returns:
        (...), NaN where the weights do not have a positive sum.
    """
    x, w = _pair(values, weight)
    return _divided(w @ x, w.sum(-1))


def sample_quantiles(
    values: ArrayLike, probabilities: ArrayLike, *, weight: ArrayLike | None = None
) -> Floats:
    r"""Return weighted quantiles, linear between the middles of the steps of the distribution.

    .. math:: F(x_{(i)}) = \left(\sum_{j < i} w_{(j)} + w_{(i)} / 2\right) / \sum_j w_j

    Args:
        values: (rows,).
        probabilities: (P,), between 0 and 1.
        weight: Weights (..., rows), not negative; 1 when None.

    Returns:
        (..., P), NaN where the weights do not have a positive sum.
    """
    x, w = _pair(values, weight)
    order = np.argsort(x, kind="stable")
    return binned_quantiles(x[order], w[..., order], probabilities)


def binned_quantiles(centres: Floats, weight: Floats, probabilities: ArrayLike) -> Floats:
    """Return the same for values in ascending order, such as bin centres; weight (..., bins)."""
    p = np.asarray(probabilities, dtype=np.float64)
    flat = weight.reshape(-1, weight.shape[-1])
    found = np.full((len(flat), p.size), np.nan)
    for row, own in enumerate(flat):
        kept = own > 0.0
        if kept.any():
            steps = np.cumsum(own[kept])
            found[row] = np.interp(p * steps[-1], steps - 0.5 * own[kept], centres[kept])
    return found.reshape(*weight.shape[:-1], p.size)


def sample_mode(
    values: ArrayLike, weight: ArrayLike | None = None, *, entries: float | None = None
) -> Floats:
    r"""Return the maximum of the Gaussian kernel density estimate.

    .. math:: h = \sigma\, n_{eff}^{-1/5}, \quad n_{eff} = (\sum w)^2 / \sum w^2

    with Scott's bandwidth from the first set of weights. Large samples are first put into 4096 bins
    over the middle 99 % of the values, far narrower than the bandwidth.

    Reference: arXiv:2404.18992.

    Args:
        values: (rows,).
        weight: Weights (..., rows), not negative; 1 when None.
        entries: Effective entries n_eff, if the rows are bins with their contents as weights.

    Returns:
        (...), NaN where the weights do not have a positive sum.
    """
    x, w = _pair(values, weight)
    flat = w.reshape(-1, w.shape[-1])
    first = flat[0]
    if not first.sum() > 0.0:
        return np.full(w.shape[:-1], np.nan)
    effective = first.sum() ** 2 / (first**2).sum() if entries is None else entries
    bandwidth = _deviation(x, first) * effective**-0.2
    if bandwidth == 0.0:
        return np.full(w.shape[:-1], float(sample_mean(x, first)))
    x, flat = rebinned(x, flat)
    grid = np.linspace(x.min(), x.max(), GRID)
    rough = kernel_density(grid, x, flat, bandwidth).argmax(-1)
    modes = []
    for own, peak in zip(flat, grid[rough], strict=True):
        near = np.linspace(peak - (grid[1] - grid[0]), peak + (grid[1] - grid[0]), 65)
        modes.append(vertex(near, kernel_density(near, x, own[None], bandwidth)[0]))
    return np.where(flat.sum(-1) > 0.0, modes, np.nan).reshape(w.shape[:-1])


def _pair(values: ArrayLike, weight: ArrayLike | None) -> tuple[Floats, Floats]:
    x = np.asarray(values, dtype=np.float64)
    w = np.ones_like(x) if weight is None else np.asarray(weight, dtype=np.float64)
    return x, w


def _divided(above: Floats, below: Floats) -> Floats:
    quotient = np.full(np.shape(below), np.nan)
    np.divide(above, below, out=quotient, where=np.asarray(below) > 0.0)
    return quotient


def _deviation(x: Floats, w: Floats) -> float:
    mean = (w @ x) / w.sum()
    return float(np.sqrt(w @ (x - mean) ** 2 / w.sum()))


def rebinned(x: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Return the middle of the sample in narrow bins, if it is large."""
    if x.size <= _BINS:
        return x, weights
    low, high = np.quantile(x, (0.005, 0.995))
    place = np.floor((x - low) / max(high - low, 1e-300) * _BINS).astype(np.int64)
    inside = (place >= 0) & (place < _BINS)
    binned = [np.bincount(place[inside], own[inside], minlength=_BINS) for own in weights]
    return low + (np.arange(_BINS) + 0.5) * (high - low) / _BINS, np.stack(binned)


def kernel_density(grid: Floats, x: Floats, weights: Floats, bandwidth: float) -> Floats:
    """Return the estimates, not normalised, at the points of a grid (rows of weights, points)."""
    pull = np.clip((grid[:, None] - x) / bandwidth, -_REACH - 1.0, _REACH + 1.0)
    return np.asarray(weights @ np.exp(-0.5 * pull**2).T)


def vertex(x: Floats, y: Floats) -> float:
    """Return the vertex of the parabola through the highest of equidistant points and its two."""
    top = int(np.clip(y.argmax(), 1, len(y) - 2))
    left, middle, right = y[top - 1 : top + 2]
    bend = left - 2.0 * middle + right
    offset = 0.5 * (left - right) / bend if bend < 0.0 else 0.0
    return float(x[top] + np.clip(offset, -1.0, 1.0) * (x[1] - x[0]))
