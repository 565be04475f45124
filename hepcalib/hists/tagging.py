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

__all__ = ["fill_score", "score"]


def _score_edges() -> Floats:
    """Return score edges 0.002 wide in the middle and 0.04 wide in the logit near 0 and 1.

    The widths meet where score (1 - score) 0.04 = 0.002. A score of exactly 1 is in the last bin.
    """
    turn = 0.5 * (1.0 - np.sqrt(1.0 - 4.0 * 0.05))
    start = np.log(turn / (1.0 - turn))
    logits = np.linspace(-14.0, start, round((start + 14.0) / 0.04) + 1)
    low = np.concatenate([[0.0], 1.0 / (1.0 + np.exp(-logits))])
    middle = np.linspace(turn, 1.0 - turn, round((1.0 - 2.0 * turn) / 0.002) + 1)
    high = 1.0 - low[::-1]
    high[-1] = np.nextafter(1.0, 2.0)
    return np.concatenate([low[:-1], middle, high[1:]])


def score(variable: str, *, taggers: Sequence[str]) -> Hist[Any]:
    """Return the empty histogram of tagger scores against one variable, such as the mass or mu.

    Args:
        variable: One of `VARIABLES`.
        taggers: Names of the taggers.

    Returns:
        Axes tagger, label (background, signal, unlabelled), score (about 1000 bins on [0, 1], finer
        near the ends), `variable`.

    Raises:
        ConfigError: if the variable is unknown or a tagger stands twice.
    """
    scores = hist.axis.Variable(_score_edges(), name="score", label="Score", flow=False)
    return histogram(
        category_axis("tagger", taggers, label="Tagger"),
        category_axis("label", LABELS, label="Truth"),
        scores,
        variable_axis(variable),
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
    scores = np.asarray(score, dtype=np.float64)
    outside = (scores < 0.0) | (scores > 1.0)
    if outside.any():
        row = int(outside.argmax())
        msg = f"tagger {tagger!r}: score {scores[row]} in row {row} is outside [0, 1]."
        raise DataError(msg)
    columns = {"score": scores, histogram.axes[3].name: values}
    fill(histogram, weight, categories={"tagger": tagger, "label": label}, values=columns)
