"""Bins in the rank of a score: they follow any monotone map of it, however narrow its range is.

Bins of the score itself lose a tagger whose scores are close together. The rank of a score among
those of a sample does not change when the score is mapped monotonically, so that what is counted in
bins of it does not either. The sample that sets the bins may be part of the jets.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hepcalib.exceptions import ConfigError, DataError, ShapeError, suggestion

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import ArrayLike

    from hepcalib.hists.axes import Floats

__all__ = ["Ranks", "learn_ranks"]

_TAIL = 0.2  # share of a class, of the highest scores, in bins of equal ratio
_SMALLEST = 1e-4  # share of a class above its last edge
_USUAL = (0.5, 0.3, 0.1, 0.05, 0.02, 0.01)  # efficiencies of cuts
_FEWEST = 130  # bins for each class
_NEAR = 0.02  # about the first two: how far a part of the jets may miss them


@dataclass(frozen=True, eq=False)
class Ranks:
    """Where the bins of each tagger's score begin.

    Args:
        bins: Number of bins, the same for all taggers.
        edges: Tagger -> ascending scores, fewer than `bins`; each is the lowest one of a bin.
    """

    bins: int
    edges: Mapping[str, Floats]

    @property
    def digest(self) -> str:
        """What tells these bins from others: sixteen hexadecimal digits."""
        found = hashlib.sha256(str(self.bins).encode())
        for name, edges in sorted(self.edges.items()):
            found.update(name.encode() + b"\0" + edges.tobytes())
        return found.hexdigest()[:16]

    def places(self, tagger: str, score: ArrayLike) -> Floats:
        """Return the middle of each score's bin on the axis of ranks: (rows,) -> (rows,).

        Raises:
            DataError: if the tagger is unknown, or a score is NaN.
        """
        if tagger not in self.edges:
            msg = f"no ranks of tagger {tagger!r}. {suggestion(tagger, self.edges)}"
            raise DataError(msg)
        scores = np.asarray(score, dtype=np.float64)
        _refuse_nan(tagger, scores)
        places = np.searchsorted(self.edges[tagger], scores, side="right")
        return np.asarray(places, dtype=np.float64) + 0.5


def learn_ranks(
    scores: Mapping[str, ArrayLike],
    *,
    label: ArrayLike,
    weight: ArrayLike | None = None,
    bins: int = 1000,
) -> Ranks:
    """Return bins with about equal sums of weights of each class, finer where scores are high.

    Each class has its share of the edges: a cut lies where signal has some efficiency, and what
    passes of the background is resolved there as well. A score that many jets share has a bin of
    its own; with fewer different scores than bins, all have.

    Args:
        scores: Tagger -> scores of a sample (rows,).
        label: The class of each row (rows,), in any code.
        weight: Event weights (rows,), of either sign.
        bins: Number of bins, at least 130 for each class.

    Raises:
        ConfigError: if there are too few bins.
        DataError: if a score is NaN.
        ShapeError: if the lengths differ.
    """
    labels = np.asarray(label)
    weights = np.ones(labels.shape) if weight is None else np.asarray(weight, dtype=np.float64)
    classes = [labels == one for one in np.unique(labels)]
    least = _FEWEST * max(len(classes), 1)
    if bins < least:
        msg = f"ranks: {bins} bins for {len(classes)} classes; needed: at least {least}"
        raise ConfigError(msg)
    edges = {}
    for tagger, given in scores.items():
        score = np.asarray(given, dtype=np.float64)
        if not score.shape == labels.shape == weights.shape:
            shapes = f"{score.shape} scores, {labels.shape} labels, {weights.shape} weights"
            msg = f"ranks of tagger {tagger!r}: {shapes}; needed: as many of each"
            raise ShapeError(msg)
        _refuse_nan(tagger, score)
        share, different = bins // max(len(classes), 1), np.unique(score)
        found = [_edges(score[rows], weights[rows], different, share) for rows in classes]
        few = different.size < bins
        edges[tagger] = different if few else np.unique(np.concatenate(found))
    return Ranks(bins, edges)


def _edges(score: Floats, weight: Floats, different: Floats, bins: int) -> Floats:
    """Return edges of one class, fewer than bins, of which a cut on it can be one.

    Args:
        score: Scores of the class (rows,).
        weight: Their weights (rows,).
        different: The different scores of all classes, ascending.
        bins: Number of bins of the class.
    """
    order = np.argsort(-score, kind="stable")
    values, parts = score[order], weight[order]
    if parts.sum() <= 0.0:
        parts = np.abs(parts)
    sums = np.maximum.accumulate(np.cumsum(parts))
    if not sums.size or sums[-1] <= 0.0:
        return values[:0]
    # Rounding must not put a whole level into the bin below.
    levels = _levels(bins)
    last = np.searchsorted(sums, levels * parts.sum() * (1.0 - 1e-12), side="left")
    lowest = values[np.minimum(last, values.size - 1)]
    starts, ends = (np.searchsorted(-values, -lowest, side=side) for side in ("left", "right"))
    large = _between(parts, starts, ends) >= 2.0 / _even(bins) * np.abs(parts).sum()
    alone = large | np.isin(levels, _USUAL)
    # Scores of other classes lie between two of this one: half of them belong to each bin.
    # The jet that reaches a level is a heavy one: every other edge is above it, not below.
    above = (np.arange(levels.size) % 2 == 1) & (starts > 0)
    low, high = (
        np.where(above, lowest, values[np.minimum(ends, values.size - 1)]),
        np.where(above, values[starts - 1], lowest),
    )
    at = np.searchsorted(different, lowest)
    both = np.concatenate([at[alone], np.minimum(at[alone] + 1, different.size - 1)])
    between = _middle(*(np.searchsorted(different, one) for one in (low, high)))
    return np.asarray(different[np.unique(np.concatenate([between[~alone], both]))])


def _middle(low: Any, high: Any) -> Any:
    """Return places in (low, high] with half of what lies between on each side."""
    gap = np.maximum(high - low - 1, 0)
    return high - (gap + high % 2) // 2


def _between(parts: Floats, starts: Any, ends: Any) -> Floats:
    """Return the absolute weights in [start, end)."""
    sums = np.concatenate([[0.0], np.cumsum(np.abs(parts))])
    return np.asarray(sums[ends] - sums[starts])


def _levels(bins: int) -> Floats:
    """Return shares in (0, 1) of a class at and above its edges, fewer than `bins`.

    They are even steps down to 20 %, then of equal ratio, so that what passes a cut is resolved to
    the same part of itself wherever the cut is. The usual working points are among them. A quarter
    is close to the first two, which ranks of a part of the jets miss by their own errors.
    """
    even, near = _even(bins), np.linspace(-1.0, 1.0, bins // 8)
    tail = int(np.log(_TAIL / _SMALLEST) / (5.0 / even))
    steps = np.arange(1, even) / even
    ratios = np.geomspace(_TAIL, _SMALLEST, tail + 1)
    close = np.add.outer(_USUAL[:2], _NEAR * near * np.abs(near)).ravel()
    return np.unique(np.concatenate([steps[steps > _TAIL], ratios, close, _USUAL]))


def _even(bins: int) -> int:
    """Return how many even steps from 0 to 1 leave room for the others."""
    share = (1.0 - _TAIL) + np.log(_TAIL / _SMALLEST) / 5.0
    return max(int((bins - 2 * (bins // 8) - 2 * len(_USUAL)) / share), 10)


def _refuse_nan(tagger: str, score: Floats) -> None:
    bad = np.isnan(score)
    if bad.any():
        msg = (
            f"tagger {tagger!r}: column 'score': {int(bad.sum())} of {bad.size} values are NaN, "
            f"the first in row {int(bad.argmax())}"
        )
        raise DataError(msg)
