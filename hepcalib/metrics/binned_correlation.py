"""Distance correlation of two binned variables, with its error."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from hepcalib.exceptions import ShapeError
from hepcalib.metrics.counts import Counts, Floats, divide

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["DistanceCorrelation", "binned_distance_correlation"]


class DistanceCorrelation(NamedTuple):
    """Squared distance correlation, unbiased, with its error; and the biased one."""

    squared: float  # may be below 0 for independent variables
    squared_error: float
    biased: float  # with pairs of a jet and itself
    noise: float  # standard deviation of the unbiased one for independent variables
    entries: float


class _Variable(NamedTuple):
    """Distances of the bins of a variable, and its distance variance."""

    share: Floats  # (bins,)
    distances: Floats  # (bins, bins)
    means: Floats  # (bins,) of the distances
    centred: Floats  # (bins, bins)
    spread: Floats  # (bins,) mean square of the centred ones

    @property
    def variance(self) -> float:
        return float(self.share @ self.spread)


def binned_distance_correlation(counts: Counts, x: ArrayLike, y: ArrayLike) -> DistanceCorrelation:
    r"""Squared distance correlation of two variables from their histogram.

    .. math::
        dCov^2 = \sum_{ij} p_{ij} (A p B)_{ij} = 4 \iint [H(s, t) - F(s) G(t)]^2 ds\,dt, \quad
        dCor^2 = dCov^2 / \sqrt{dVar^2_x dVar^2_y}

    with shares p and centred distances A and B of the bin centres: every jet is at the centre of
    its bin. It takes O(N + B^3) operations. `squared` is made of U-statistics, without the pairs of
    a jet and itself, and has mean 0 for independent variables, with standard deviation
    :math:`\sqrt{2} / n`; n are the effective entries. The variance is the first-order one of the
    influence function, less its bias :math:`4 / n^2`, and at least 0, plus :math:`2 / n^2`.

    It changes with a transformation of the score, unless x are its ranks. A small one is no proof
    of a flat background: 0.0006 was seen with a divergence 46 times above its statistical limit.

    Reference: arXiv:2001.05310 (DisCo), arXiv:0803.4101 (distance correlation).

    Args:
        counts: Counts (x bins, y bins); negative ones count as 0.
        x: Centres of the bins of the first variable (x bins,).
        y: Centres of those of the second (y bins,).

    Returns:
        NaN with fewer than four effective entries, or if a variable has one value only.

    Raises:
        ShapeError: if there are not as many centres as bins.
    """
    at = [np.asarray(centres, dtype=np.float64) for centres in (x, y)]
    if counts.values.shape != tuple(centres.size for centres in at):
        sizes = tuple(centres.size for centres in at)
        msg = f"distance correlation: counts of shape {counts.values.shape}, {sizes} bin centres"
        raise ShapeError(msg)
    n = counts.entries
    values = np.clip(counts.values, 0.0, None)
    if n < 4.0:
        return DistanceCorrelation(np.nan, np.nan, np.nan, np.nan, n)
    p = values / values.sum()
    first, second = _variable(at[0], p.sum(1)), _variable(at[1], p.sum(0))
    if min(first.variance, second.variance) <= 0.0:
        return DistanceCorrelation(np.nan, np.nan, np.nan, np.nan, n)
    root = float(np.sqrt(first.variance * second.variance))
    pulls = first.centred @ p @ second.centred
    biased = float((p * pulls).sum()) / root
    along = np.add.outer(first.spread / first.variance, second.spread / second.variance) - 2.0
    influence = 2.0 * (pulls / root - biased) - biased * along
    first_order = float((p * influence**2).sum()) / n
    unbiased = _unbiased(p, first, second, n)
    variances = (_unbiased(np.diag(one.share), one, one, n) for one in (first, second))
    return DistanceCorrelation(
        squared=float(divide(unbiased, np.sqrt(np.prod(np.clip([*variances], 0.0, None))))),
        squared_error=float(np.sqrt(max(first_order - 4.0 / n**2, 0.0) + 2.0 / n**2)),
        biased=biased,
        noise=float(np.sqrt(2.0) / n),
        entries=n,
    )


def _variable(at: Floats, share: Floats) -> _Variable:
    distances = np.abs(np.subtract.outer(at, at))
    means = distances @ share
    centred = distances - means[:, None] - means[None, :] + share @ means
    return _Variable(share, distances, means, centred, centred**2 @ share)


def _unbiased(p: Floats, x: _Variable, y: _Variable, n: float) -> float:
    """Return the U-statistic of the distance covariance for shares p (x bins, y bins)."""
    pairs = float((p * (x.distances @ p @ y.distances)).sum())
    common = float(x.means @ p @ y.means)
    apart = float((x.share @ x.means) * (y.share @ y.means))
    total = pairs - 2.0 * n * common / (n - 2.0) + n**2 * apart / ((n - 1.0) * (n - 2.0))
    return total * n / (n - 3.0)
