"""Histograms of tagger scores against the mass and against what the tagger should not see."""

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

__all__ = ["fill_score", "fill_sculpting", "score", "sculpting"]


def score(
    variable: str,
    *,
    taggers: Sequence[str],
    coarse: bool = False,
    edges: Sequence[float] | None = None,
) -> Hist[Any]:
    """Return the empty histogram of tagger scores against one variable, such as the mass or mu.

    Args:
        variable: One of `VARIABLES`.
        taggers: Names of the taggers.
        coarse: Whether to have a fifth of the bins of the score, for many taggers.
        edges: Bin edges of the variable, by default its own.

    Returns:
        Axes tagger, label (background, signal, unlabelled), score (about 1000 bins on [0, 1], finer
        near the ends; 200 if coarse), `variable`.

    Raises:
        ConfigError: if the variable is unknown, its edges are none or a tagger stands twice.
    """
    return histogram(
        category_axis("tagger", taggers, label="Tagger"),
        category_axis("label", LABELS, label="Truth"),
        _score_axis(coarse=coarse),
        variable_axis(variable, edges=edges),
    )


def sculpting(
    variable: str, *, taggers: Sequence[str], edges: Sequence[float] | None = None
) -> Hist[Any]:
    """Return the empty histogram of score and mass of the background in bins of a variable.

    The cut that gives a signal efficiency is known when all jets are in; the score is kept in about
    200 bins for it, 0.01 wide in the middle and 0.2 wide in the logit near the ends, and a cut
    inside of a bin takes a share of it. A tagger needs 0.17 MB for each bin of the variable.

    Args:
        variable: One of `VARIABLES`.
        taggers: Names of the taggers.
        edges: Bin edges of the variable, by default its own.

    Returns:
        Axes tagger, score, mass (50-300 GeV in bins of 5 GeV), `variable`.

    Raises:
        ConfigError: if the variable is unknown, its edges are none or a tagger stands twice.
    """
    return histogram(
        category_axis("tagger", taggers, label="Tagger"),
        _score_axis(coarse=True),
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
) -> None:
    """Fill the scores of jets that share one truth label.

    Args:
        histogram: What `score` returned; changed in place.
        tagger: One of its taggers.
        label: background, signal or unlabelled.
        score: Scores in [0, 1] (rows,).
        values: The variable (rows,).
        weight: Event weights (rows,).

    Raises:
        DataError: if tagger or label is unknown, a score is outside [0, 1], or a value is NaN.
        ShapeError: if the lengths differ.
    """
    columns = {"score": _checked(score, tagger), histogram.axes[3].name: values}
    fill(histogram, weight, categories={"tagger": tagger, "label": label}, values=columns)


def fill_sculpting(
    histogram: Hist[Any],
    *,
    tagger: str,
    score: ArrayLike,
    mass: ArrayLike,
    values: ArrayLike,
    weight: ArrayLike | None = None,
) -> None:
    """Fill background jets.

    Args:
        histogram: What `sculpting` returned; changed in place.
        tagger: One of its taggers.
        score: Scores in [0, 1] (rows,).
        mass: Masses (rows,) [GeV].
        values: The variable (rows,).
        weight: Event weights (rows,).

    Raises:
        DataError: if the tagger is unknown, a score is outside [0, 1], or a value is NaN.
        ShapeError: if the lengths differ.
    """
    columns = {"score": _checked(score, tagger), "mass": mass, histogram.axes[3].name: values}
    fill(histogram, weight, categories={"tagger": tagger}, values=columns)


def _checked(score: ArrayLike, tagger: str) -> Floats:
    scores = np.asarray(score, dtype=np.float64)
    outside = (scores < 0.0) | (scores > 1.0)
    if outside.any():
        row = int(outside.argmax())
        msg = f"tagger {tagger!r}: score {scores[row]} in row {row} is outside [0, 1]."
        raise DataError(msg)
    return scores


def _score_axis(*, coarse: bool) -> hist.axis.Variable:
    edges = _score_edges(0.01 if coarse else 0.002)
    return hist.axis.Variable(edges, name="score", label="Score", flow=False)


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
