"""Histograms of tagger scores against the mass and against what the tagger should not see.

Figures of merit need bins in the rank of the score. Bins of the score itself are for what reads the
score as a probability.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import hist
import numpy as np

from hepcalib.exceptions import DataError
from hepcalib.hists.axes import LABELS, Floats, category_axis, fill, histogram, variable_axis

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hist import Hist
    from numpy.typing import ArrayLike

    from hepcalib.hists.ranks import Ranks

__all__ = ["checked_score", "fill_score", "fill_sculpting", "score", "sculpting"]


def score(
    variable: str,
    *,
    taggers: Sequence[str],
    ranks: Ranks | None = None,
    edges: Sequence[float] | None = None,
) -> Hist[Any]:
    """Return the empty histogram of tagger scores against one variable, such as the mass or mu.

    Args:
        variable: One of `VARIABLES`.
        taggers: Names of the taggers.
        ranks: Bins in the rank of the score; None has bins of the score itself. Histograms with
            other ranks do not add.
        edges: Bin edges of the variable, by default its own.

    Returns:
        Axes tagger, label (background, signal, unlabelled), score (the bins of the ranks; or about
        1000 on [0, 1], finer near the ends), `variable`.

    Raises:
        ConfigError: if the variable is unknown, its edges are none or a tagger stands twice.
    """
    return histogram(
        category_axis("tagger", taggers, label="Tagger"),
        category_axis("label", LABELS, label="Truth"),
        _score_axis(ranks),
        variable_axis(variable, edges=edges),
    )


def sculpting(
    variable: str,
    *,
    taggers: Sequence[str],
    ranks: Ranks | None = None,
    edges: Sequence[float] | None = None,
) -> Hist[Any]:
    """Return the empty histogram of score and mass of the background in bins of a variable.

    The cut that gives a signal efficiency is known when all jets are in; the rank of the score is
    kept for it. With 500 bins a tagger needs 0.42 MB for each bin of the variable.

    Args:
        variable: One of `VARIABLES`.
        taggers: Names of the taggers.
        ranks: Bins in the rank of the score; None has bins of the score itself.
        edges: Bin edges of the variable, by default its own.

    Returns:
        Axes tagger, score, mass (50-300 GeV in bins of 5 GeV), `variable`.

    Raises:
        ConfigError: if the variable is unknown, its edges are none or a tagger stands twice.
    """
    return histogram(
        category_axis("tagger", taggers, label="Tagger"),
        _score_axis(ranks),
        variable_axis("mass"),
        variable_axis(variable, edges=edges),
    )


def fill_score(
    histogram: Hist[Any],
    *,
    tagger: str,
    label: str,
    score: ArrayLike,
    values: ArrayLike,
    weight: ArrayLike | None = None,
    ranks: Ranks | None = None,
) -> None:
    """Fill the scores of jets that share one truth label.

    Args:
        histogram: What `score` returned; changed in place.
        tagger: One of its taggers.
        label: background, signal or unlabelled.
        score: Scores in [0, 1] (rows,).
        values: The variable (rows,).
        weight: Event weights (rows,).
        ranks: Those that the histogram was made for.

    Raises:
        DataError: if tagger or label is unknown, a score is outside [0, 1], a value is NaN, or the
            ranks are others than those of the histogram.
        ShapeError: if the lengths differ.
    """
    columns = {"score": _placed(histogram, score, tagger, ranks), histogram.axes[3].name: values}
    fill(histogram, weight, categories={"tagger": tagger, "label": label}, values=columns)


def fill_sculpting(
    histogram: Hist[Any],
    *,
    tagger: str,
    score: ArrayLike,
    mass: ArrayLike,
    values: ArrayLike,
    weight: ArrayLike | None = None,
    ranks: Ranks | None = None,
) -> None:
    """Fill background jets.

    Args:
        histogram: What `sculpting` returned; changed in place.
        tagger: One of its taggers.
        score: Scores in [0, 1] (rows,).
        mass: Masses (rows,) [GeV].
        values: The variable (rows,).
        weight: Event weights (rows,).
        ranks: Those that the histogram was made for.

    Raises:
        DataError: if the tagger is unknown, a score is outside [0, 1], a value is NaN, or the
            ranks are others than those of the histogram.
        ShapeError: if the lengths differ.
    """
    placed = _placed(histogram, score, tagger, ranks)
    columns = {"score": placed, "mass": mass, histogram.axes[3].name: values}
    fill(histogram, weight, categories={"tagger": tagger}, values=columns)


def checked_score(score: ArrayLike, tagger: str) -> Floats:
    """Return scores as numbers.

    Raises:
        DataError: if one is NaN or outside [0, 1].
    """
    scores = np.asarray(score, dtype=np.float64)
    bad = ~((scores >= 0.0) & (scores <= 1.0))
    if bad.any():
        row = int(bad.argmax())
        found = f"score {scores[row]} in row {row} is outside [0, 1]"
        msg = f"tagger {tagger!r}: {found} ({int(bad.sum())} of {bad.size} in column 'score')"
        raise DataError(msg)
    return scores


def _placed(histogram: Hist[Any], score: ArrayLike, tagger: str, ranks: Ranks | None) -> Floats:
    """Return where scores are on the axis of a histogram."""
    axis, scores = histogram.axes["score"], checked_score(score, tagger)
    if axis.metadata != (None if ranks is None else ranks.digest):
        msg = "the histogram has other bins of the score; needed: the ranks that it was made for"
        raise DataError(msg)
    if ranks is None or tagger not in ranks.edges:  # which `fill` refuses
        return scores
    return ranks.places(tagger, scores)


def _score_axis(ranks: Ranks | None) -> hist.axis.Variable | hist.axis.Regular:
    if ranks is None:
        return hist.axis.Variable(_score_edges(0.002), name="score", label="Score", flow=False)
    bins, label = ranks.bins, "Bin in the rank of the score"
    return hist.axis.Regular(
        bins, 0.0, bins, name="score", label=label, metadata=ranks.digest, flow=False
    )


def _score_edges(width: float) -> Floats:
    """Return score edges of this width in the middle and 20 times it in the logit near 0 and 1.

    The widths meet where score (1 - score) = 0.05. A score of exactly 1 is in the last bin.
    """
    turn = 0.5 * (1.0 - np.sqrt(1.0 - 4.0 * 0.05))
    start = np.log(turn / (1.0 - turn))
    logits = np.linspace(-14.0, start, round((start + 14.0) / (20.0 * width)) + 1)
    low = np.concatenate([[0.0], 1.0 / (1.0 + np.exp(-logits))])
    middle = np.linspace(turn, 1.0 - turn, round((1.0 - 2.0 * turn) / width) + 1)
    high = 1.0 - low[::-1]
    high[-1] = np.nextafter(1.0, 2.0)
    return np.concatenate([low[:-1], middle, high[1:]])
