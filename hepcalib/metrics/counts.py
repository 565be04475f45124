"""Weighted counts in bins, and the quantiles of a binned sample."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from hist import Hist

__all__ = ["Counts", "Floats", "Quantiles", "centres", "counts", "divide", "edges", "quantiles"]

Floats: TypeAlias = NDArray[np.float64]


class Counts(NamedTuple):
    """Sums of weights and of squared weights in bins."""

    values: Floats
    variances: Floats

    @property
    def total(self) -> float:
        """Sum of weights."""
        return float(self.values.sum())

    @property
    def entries(self) -> float:
        r"""Effective entries :math:`(\sum w)^2 / \sum w^2`; 0 if the sum is not positive."""
        squares = float(self.variances.sum())
        return self.total**2 / squares if self.total > 0.0 and squares > 0.0 else 0.0

    def at(self, where: Any) -> Counts:
        """Return the counts of the bins that a numpy index selects."""
        return Counts(np.asarray(self.values[where]), np.asarray(self.variances[where]))

    def sum(self, axis: int) -> Counts:
        """Return the counts summed over one axis."""
        return Counts(self.values.sum(axis=axis), self.variances.sum(axis=axis))


class Quantiles(NamedTuple):
    """Quantiles of one sample with their asymptotic covariance."""

    values: Floats
    covariance: Floats
    entries: float

    @property
    def errors(self) -> Floats:
        """Standard errors of the quantiles."""
        return np.sqrt(np.diag(self.covariance))


def counts(histogram: Hist[Any]) -> Counts:
    """Return the counts of a histogram with its flow bins; without weights variances are counts."""
    values = np.asarray(histogram.values(flow=True), dtype=np.float64)
    variances = histogram.variances(flow=True)
    return Counts(values, values if variances is None else np.asarray(variances, dtype=np.float64))


def edges(axis: Any) -> Floats:
    """Return the bin edges of a histogram axis."""
    return np.asarray(axis.edges, dtype=np.float64)


def centres(axis: Any) -> Floats:
    """Return bin centres, geometric on an axis whose metadata is "log"."""
    low, high = edges(axis)[:-1], edges(axis)[1:]
    return np.asarray(np.sqrt(low * high) if axis.metadata == "log" else 0.5 * (low + high))


def divide(numerator: ArrayLike, denominator: ArrayLike) -> Floats:
    """Return the quotient, NaN where the denominator is not positive or anything is NaN."""
    above, below = np.broadcast_arrays(
        np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    )
    quotient = np.full(below.shape, np.nan)
    np.divide(above, below, out=quotient, where=below > 0.0)
    return quotient


def quantiles(
    counts: Counts, edges: ArrayLike, probabilities: ArrayLike, *, minimum_entries: float = 10.0
) -> Quantiles:
    r"""Quantiles of a weighted binned sample, linear within a bin, with their covariance.

    .. math:: cov(q_a, q_b) = p_a (1 - p_b) / (n f_a f_b), \quad p_a \le p_b

    with the effective number of entries n. The density f at a quantile is the slope of the
    distribution function over plus and minus one standard error of p. A plateau of the distribution
    function gives its middle, as the median of an even number of values does. A quantile in a flow
    bin is NaN.

    Args:
        counts: Counts with both flow bins (bins + 2,).
        edges: Bin edges (bins + 1,).
        probabilities: Increasing, in (0, 1) (P,).
        minimum_entries: A sample with fewer effective entries gives NaN.

    Returns:
        Quantiles (P,) and covariance (P, P).
    """
    p = np.asarray(probabilities, dtype=np.float64)
    entries = counts.entries
    if entries <= 0.0 or entries < minimum_entries:
        return Quantiles(np.full(p.shape, np.nan), np.full((p.size, p.size), np.nan), entries)
    cumulative = np.concatenate([[0.0], np.cumsum(counts.values)]) / counts.total
    cumulative = np.clip(np.maximum.accumulate(cumulative), 0.0, 1.0)
    at = np.concatenate([[np.nan], np.asarray(edges, dtype=np.float64), [np.nan]])
    sigma = np.sqrt(p * (1.0 - p) / entries)
    low, high = np.maximum(p - sigma, 0.5 * p), np.minimum(p + sigma, 0.5 * (1.0 + p))
    slopes = (_inverse(cumulative, at, high) - _inverse(cumulative, at, low)) / (high - low)
    smaller, larger = np.minimum.outer(p, p), np.maximum.outer(p, p)
    covariance = smaller * (1.0 - larger) / entries * np.multiply.outer(slopes, slopes)
    return Quantiles(_inverse(cumulative, at, p), covariance, entries)


def _inverse(cumulative: Floats, at: Floats, p: Floats) -> Floats:
    """Return the middle of all x where a piecewise linear distribution function is p."""
    sides = []
    for side in ("left", "right"):
        upper = np.searchsorted(cumulative, p, side=side)
        upper = np.clip(upper, 1, cumulative.size - 1)
        step = cumulative[upper] - cumulative[upper - 1]
        fraction = divide(p - cumulative[upper - 1], step)
        sides.append(at[upper - 1] + fraction * (at[upper] - at[upper - 1]))
    return 0.5 * (sides[0] + sides[1])
