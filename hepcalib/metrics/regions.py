"""Where in the features the objects are whose uncertainty lies beyond the valley."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hepcalib.metrics.counts import Counts, Floats, counts, divide, edges

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hist import Hist
    from numpy.typing import NDArray

__all__ = ["FeatureSplit", "Region", "feature_splits", "large_uncertainty_region"]

_FOLDED = {"rapidity": r"$|y|$", "eta": r"$|\eta|$"}
_SIGNIFICANCE = 3.0  # of the excess in a bin of the region, in standard errors
_LEAST_SHARE = 0.05  # of the objects above the valley, in each interval


class FeatureSplit(NamedTuple):
    """A feature of the objects above and below the valley, and how far the two are apart."""

    feature: str
    label: str
    spacing: str  # "log" or "linear"
    edges: Floats
    above: Floats  # share of the objects above the valley (bins,)
    above_error: Floats
    below: Floats
    below_error: Floats
    above_entries: float
    below_entries: float
    above_weight: float  # sums of weights
    below_weight: float
    valley: float  # edge of the uncertainty axis nearest to it
    separation: float  # 0 the same, 1 disjoint
    separation_limit: float  # what independence gives on average, by chance


class Region(NamedTuple):
    """The interval or intervals of one feature that the objects of large uncertainty occupy."""

    feature: str
    label: str
    intervals: tuple[tuple[float, float], ...]
    share_above_inside: float  # of the objects above the valley
    share_above_error: float
    share_below_inside: float  # of the objects below the valley
    share_below_error: float
    purity: float  # share of the objects inside that are above the valley
    purity_error: float
    separation: float
    ranking: tuple[tuple[str, float], ...]  # features with their separation, best first

    @property
    def text(self) -> str:
        """The region in words, such as "1.2 < |y| < 1.6"."""
        _, bracket, tail = self.label.partition("[")
        unit = f" {tail.rstrip(']')}".replace("$", "") if bracket else ""
        name = f"|{self.feature}|" if self.label.startswith("$|") else self.feature
        spans = (f"{low:.4g} < {name} < {high:.4g}" for low, high in self.intervals)
        return " or ".join(spans) + unit


def feature_splits(histograms: Mapping[str, Hist[Any]], valley: float) -> dict[str, FeatureSplit]:
    r"""Compare each feature of the objects above and below the valley of the uncertainties.

    .. math:: S = \frac{1}{2} \sum_b \frac{(p_b - q_b)^2}{p_b + q_b}, \quad
              \langle S \rangle = \frac{B}{4} \left(\frac{1}{n_p} + \frac{1}{n_q}\right)

    the latter if the two are samples of one distribution over B bins. Rapidities are folded to
    absolute values.

    Reference: the separation is that of arXiv:2410.21611.

    Args:
        histograms: Feature -> what `hists.feature_uncertainty` returned, filled.
        valley: Relative uncertainty between the two, taken at the nearest edge of the axis.

    Returns:
        Feature -> its distributions, flow bins not included in the arrays but in their
        normalisation; first those whose separation exceeds the limit by most. NaN where there is
        nothing above or below.
    """
    found = [_split(name, histogram, valley) for name, histogram in histograms.items()]
    found.sort(key=lambda split: np.nan_to_num(split.separation_limit - split.separation))
    return {split.feature: split for split in found}


def _split(feature: str, histogram: Hist[Any], valley: float) -> FeatureSplit:
    axis, uncertainties = histogram.axes[0], edges(histogram.axes[1])
    place = int(np.argmin(np.abs(np.log(uncertainties / valley))))
    everything = counts(histogram)
    parts = [
        everything.at((slice(None), rows)).sum(1)
        for rows in (slice(place + 1, None), slice(0, place + 1))
    ]
    at, label, spacing = edges(axis), axis.label, "log" if axis.metadata == "log" else "linear"
    if feature in _FOLDED and np.allclose(at, -at[::-1], rtol=0.0, atol=1e-9) and at.size % 2:
        parts, at, label = [_folded(part) for part in parts], at[at.size // 2 :], _FOLDED[feature]
    shares = []
    for part in parts:
        total = part.total if part.entries > 0.0 else np.nan
        shares.append((divide(part.values, total), divide(np.sqrt(part.variances), total)))
    (p, p_error), (q, q_error) = shares
    known = p + q > 0.0
    separation = 0.5 * float(divide((p - q) ** 2, p + q)[known].sum()) if known.any() else np.nan
    limit = 0.25 * known.sum() * sum(divide(1.0, part.entries) for part in parts)
    return FeatureSplit(
        feature=feature,
        label=label,
        spacing=spacing,
        edges=at,
        above=p[1:-1],
        above_error=p_error[1:-1],
        below=q[1:-1],
        below_error=q_error[1:-1],
        above_entries=parts[0].entries,
        below_entries=parts[1].entries,
        above_weight=parts[0].total,
        below_weight=parts[1].total,
        valley=float(uncertainties[place]),
        separation=separation,
        separation_limit=float(limit),
    )


def _folded(part: Counts) -> Counts:
    """Add the mirror images of an even number of bins, the flow last; nothing lies below 0."""
    half = part.values.size // 2
    low, high = part.at(slice(half - 1, None, -1)), part.at(slice(half, None))
    folded = [one + other for one, other in zip(low, high, strict=True)]
    return Counts(*(np.concatenate([[0.0], column]) for column in folded))


def large_uncertainty_region(
    histograms: Mapping[str, Hist[Any]],
    valley: float | None,
    *,
    ratio: float = 2.0,
    minimum_share: float = 0.5,
) -> Region | None:
    """Find the region of one feature that the objects of large uncertainty occupy.

    A bin belongs to it if the share of the objects above the valley in it exceeds `ratio` times
    that of the objects below, by three standard errors. Neighbours are merged; intervals with less
    than 5 % of the objects above the valley are dropped. The features are tried in the order of
    their separation, the first with a region is returned.

    Args:
        histograms: Feature -> what `hists.feature_uncertainty` returned, filled.
        valley: What `metrics.uncertainty_spectrum` found; None if it found none.
        ratio: Least ratio of the two densities inside the region.
        minimum_share: Least share of the objects above the valley inside the region.

    Returns:
        The region; None without valley or if no feature has one.
    """
    if valley is None:
        return None
    splits = feature_splits(histograms, valley)
    ranking = tuple((name, split.separation) for name, split in splits.items())
    for split in splits.values():
        intervals = _intervals(split, ratio)
        inside = np.zeros(split.above.size, dtype=np.bool_)
        for first, last in intervals:
            inside[first:last] = True
        if split.above[inside].sum() >= minimum_share and intervals:
            return _region(split, intervals, inside, ranking)
    return None


def _intervals(split: FeatureSplit, ratio: float) -> list[tuple[int, int]]:
    """Return first and past-the-last bin of each run of bins with a significant excess."""
    excess = split.above - ratio * split.below
    noise = np.hypot(split.above_error, ratio * split.below_error)
    occupied = (excess > 0.0) & (excess > _SIGNIFICANCE * noise)
    turns = np.flatnonzero(np.diff(np.concatenate([[False], occupied, [False]])))
    return [
        (int(first), int(last))
        for first, last in turns.reshape(-1, 2)
        if split.above[first:last].sum() >= _LEAST_SHARE
    ]


def _region(
    split: FeatureSplit,
    intervals: list[tuple[int, int]],
    inside: NDArray[np.bool_],
    ranking: tuple[tuple[str, float], ...],
) -> Region:
    shares = [float(share[inside].sum()) for share in (split.above, split.below)]
    entries = [split.above_entries, split.below_entries]
    errors = [
        float(np.sqrt(max(share * (1.0 - share), 0.0) / n))
        for share, n in zip(shares, entries, strict=True)
    ]
    above, below = shares[0] * split.above_weight, shares[1] * split.below_weight
    purity = above / (above + below)
    inside_entries = shares[0] * entries[0] + shares[1] * entries[1]
    return Region(
        feature=split.feature,
        label=split.label,
        intervals=tuple(
            (float(split.edges[first]), float(split.edges[last])) for first, last in intervals
        ),
        share_above_inside=shares[0],
        share_above_error=errors[0],
        share_below_inside=shares[1],
        share_below_error=errors[1],
        purity=purity,
        purity_error=float(np.sqrt(max(purity * (1.0 - purity), 0.0) / inside_entries)),
        separation=split.separation,
        ranking=ranking,
    )
