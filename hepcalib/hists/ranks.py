"""Bins in the rank of a score: they follow any monotone map of it, however narrow its range is.

Bins of the score itself lose a tagger whose scores are close together. The rank of a score among
those of a sample does not change when the score is mapped monotonically, so that what is counted in
bins of it does not either. The sample that sets the bins may be part of the jets.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

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
_FEWEST = 240  # bins, for three classes
_NEAR = (0.001, 0.002, 0.004, 0.006)  # how far the first two are missed by ranks of 20,000 jets


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
        return np.searchsorted(self.edges[tagger], scores, side="right") + 0.5


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
        weight: Event weights (rows,); their absolute values count.
        bins: Number of bins, at least 240.

    Raises:
        ConfigError: if there are too few bins.
        DataError: if a score is NaN.
        ShapeError: if the lengths differ.
    """
    if bins < _FEWEST:
        msg = f"ranks: {bins} bins; needed: at least {_FEWEST}"
        raise ConfigError(msg)
    labels = np.asarray(label)
    weights = np.abs(np.ones(labels.shape) if weight is None else np.asarray(weight, np.float64))
    classes = [labels == one for one in np.unique(labels)]
    edges = {}
    for tagger, given in scores.items():
        score = np.asarray(given, dtype=np.float64)
        if not score.shape == labels.shape == weights.shape:
            shapes = f"{score.shape} scores, {labels.shape} labels, {weights.shape} weights"
            msg = f"ranks of tagger {tagger!r}: {shapes}; needed: as many of each"
            raise ShapeError(msg)
        _refuse_nan(tagger, score)
        share = bins // max(len(classes), 1)
        found = [_edges(score[rows], weights[rows], share) for rows in classes]
        edges[tagger] = _few(score, found, bins)
    return Ranks(bins, edges)


def _few(score: Floats, found: list[Floats], bins: int) -> Floats:
    """Return the edges of all classes; of few different scores, each is one."""
    different = np.unique(score)
    if different.size < bins:
        return different
    return np.unique(np.concatenate(found))


def _edges(score: Floats, weight: Floats, bins: int) -> Floats:
    """Return the scores below which shares of the weights are, (fewer than bins,)."""
    order = np.argsort(score, kind="stable")
    values, sums = score[order], np.cumsum(weight[order])
    if not sums.size or sums[-1] <= 0.0:
        return values[:0]
    levels = _levels(bins)
    # Rounding must not put a whole level into the bin above.
    at = np.searchsorted(sums, levels * sums[-1] * (1.0 - 1e-12), side="left") + 1
    below = values[np.minimum(at, values.size - 1)]
    starts = np.searchsorted(values, below, side="left")
    ends = np.searchsorted(values, below, side="right")
    shared = sums[ends - 1] - np.where(starts > 0, sums[starts - 1], 0.0)
    alone = (shared >= 2.0 / _even(bins) * sums[-1]) & (ends < values.size)
    return np.unique(np.concatenate([below, values[ends[alone]]]))


def _levels(bins: int) -> Floats:
    """Return shares of a class in (0, 1) below the edges, fewer than `bins`.

    The shares above are even steps down to 20 %, then of equal ratio; the usual working points are
    among them, and more of them near the first two. What passes a cut is then resolved to the same
    part of itself wherever the cut is.
    """
    even = _even(bins)
    tail = int(np.log(_TAIL / _SMALLEST) / (5.0 / even))
    near = np.add.outer(_USUAL[:2], [*_NEAR, *(-one for one in _NEAR)]).ravel()
    above = np.concatenate(
        [
            np.arange(1, even) / even,
            np.geomspace(_TAIL, _SMALLEST, tail + 1)[1:],
            near,
            _USUAL,
        ]
    )
    even_in_tail = np.zeros(above.size, dtype=bool)
    even_in_tail[: even - 1] = above[: even - 1] < _TAIL
    return 1.0 - np.unique(above[~even_in_tail])


def _even(bins: int) -> int:
    """Return how many even steps from 0 to 1 leave room for the others."""
    others = len(_USUAL) + 2 * len(_NEAR) * 2
    share = (1.0 - _TAIL) + np.log(_TAIL / _SMALLEST) / 5.0
    return max(int((bins - others) / share), 20)


def _refuse_nan(tagger: str, score: Floats) -> None:
    bad = np.isnan(score)
    if bad.any():
        msg = (
            f"tagger {tagger!r}: column 'score': {int(bad.sum())} of {bad.size} values are NaN, "
            f"the first in row {int(bad.argmax())}"
        )
        raise DataError(msg)
