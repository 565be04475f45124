"""Do two methods give the same objects the same uncertainty."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hepcalib.metrics.counts import Counts, Floats, counts, divide, edges, quantiles

if TYPE_CHECKING:
    from hist import Hist

__all__ = ["Agreement", "agreement", "rank_correlation"]


class Agreement(NamedTuple):
    """Uncertainties of one kind that two methods give the same objects."""

    kind: str
    first: str  # names of the two methods
    second: str
    entries: float
    first_median: float
    second_median: float
    median_ratio: float  # first over second
    median_ratio_error: float
    rank_correlation: float
    rank_correlation_error: float
    edges: Floats
    values: Floats  # weighted entries (bins of first, bins of second)


def agreement(histogram: Hist[Any], *, minimum_entries: float = 10.0) -> dict[str, Agreement]:
    r"""Ratio of the medians and rank correlation of the uncertainties of two methods.

    The medians of the same objects are correlated; with the share P of objects below both

    .. math:: cov(m_1, m_2) = 4 (P - 1/4) \sigma(m_1) \sigma(m_2)

    Reference: ATLAS, arXiv:2412.04370.

    Args:
        histogram: What `hists.uncertainty_pair` returned, filled.
        minimum_entries: Kinds with fewer effective entries give NaN.

    Returns:
        Kind -> result.
    """
    everything = counts(histogram)
    return {
        str(kind): _agreement(str(kind), everything.at(place), histogram, minimum_entries)
        for place, kind in enumerate(histogram.axes[0])
    }


def _agreement(kind: str, part: Counts, histogram: Hist[Any], minimum: float) -> Agreement:
    x, y = histogram.axes[1], histogram.axes[2]
    (m1, e1), (m2, e2) = (_median(part.sum(axis), edges(x), minimum) for axis in (1, 0))
    enough = part.entries >= max(minimum, 1e-9)
    below = _share_below(part.values, edges(x), m1, m2) if enough else np.nan
    covariance = 4.0 * (below - 0.25) * e1 * e2
    ratio = float(divide(m1, m2))
    relative = divide(e1**2, m1**2) + divide(e2**2, m2**2) - 2.0 * divide(covariance, m1 * m2)
    correlation, error = rank_correlation(part) if enough else (np.nan, np.nan)
    return Agreement(
        kind=kind,
        first=x.label.partition(", ")[2],
        second=y.label.partition(", ")[2],
        entries=part.entries,
        first_median=m1,
        second_median=m2,
        median_ratio=ratio,
        median_ratio_error=ratio * float(np.sqrt(np.clip(relative, 0.0, None))),
        rank_correlation=correlation,
        rank_correlation_error=error,
        edges=edges(x),
        values=part.values[1:-1, 1:-1],
    )


def _median(part: Counts, at: Floats, minimum: float) -> tuple[float, float]:
    found = quantiles(part, at, (0.5,), minimum_entries=minimum)
    return float(found.values[0]), float(found.errors[0])


def _share_below(values: Floats, at: Floats, x: float, y: float) -> float:
    """Return the share of the entries below x and below y, linear within a bin; NaN if one is."""
    if np.isnan([x, y]).any():
        return np.nan
    corners = np.cumsum(np.cumsum(values, axis=0), axis=1)[:-1, :-1] / values.sum()
    along = np.array([np.interp(y, at, row) for row in corners])
    return float(np.interp(x, at, along))


def rank_correlation(counts: Counts) -> tuple[float, float]:
    r"""Spearman rank correlation of a binned pair of quantities, with its standard error.

    Every bin has the middle of the ranks in it, flow bins too: the correlation of the bin numbers
    with ties. The error is that of the influence function

    .. math:: \psi(x, y) = 12 \, [F(x) G(y) + E[G(Y) 1(X > x)] + E[F(X) 1(Y > y)]]

    with the marginal distribution functions F and G.

    Args:
        counts: Counts (bins of x, bins of y).

    Returns:
        Correlation and error, NaN without entries or if all are in one row or column.
    """
    if counts.entries <= 0.0:
        return np.nan, np.nan
    p = counts.values / counts.total
    f, g = (np.cumsum(p.sum(axis)) - 0.5 * p.sum(axis) for axis in (1, 0))
    x, y = p.sum(1), p.sum(0)
    variances = [float(q @ (rank - 0.5) ** 2) for q, rank in ((x, f), (y, g))]
    norm = float(np.sqrt(variances[0] * variances[1]))
    if min(np.count_nonzero(x), np.count_nonzero(y)) < 2:
        return np.nan, np.nan
    correlation = float((f - 0.5) @ p @ (g - 0.5)) / norm
    # E[G(Y) 1(X > x)] and E[F(X) 1(Y > y)], half of the bin itself counted.
    mean_g, mean_f = p @ g, f @ p
    tail_g = mean_g[::-1].cumsum()[::-1] - 0.5 * mean_g
    tail_f = mean_f[::-1].cumsum()[::-1] - 0.5 * mean_f
    influence = np.multiply.outer(f, g) + tail_g[:, None] + tail_f[None, :]
    spread = float((p * influence**2).sum() - (p * influence).sum() ** 2)
    # 1 / norm is 12 without ties.
    return correlation, float(np.sqrt(max(spread, 0.0) / counts.entries)) / norm
