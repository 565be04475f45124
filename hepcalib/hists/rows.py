"""Scores of jets row by row, until it is known in which bins to count them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hepcalib.exceptions import ShapeError
from hepcalib.hists.axes import LABELS, Floats
from hepcalib.hists.ranks import Ranks, learn_ranks
from hepcalib.hists.tagging import checked_score, fill_score, fill_sculpting, score, sculpting

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hist import Hist
    from numpy.typing import ArrayLike, NDArray

__all__ = ["ScoreRows", "counted_scores", "counted_sculpting", "score_rows"]


@dataclass(frozen=True, eq=False)
class ScoreRows:
    """Scores and other columns of jets; the sum of two has the rows of both.

    Args:
        parts: Blocks of rows: column -> values (rows,). The columns are `label` (the place in
            `LABELS`), `weight`, variables, and a score under the name of each tagger.
        taggers: Names of the taggers.
    """

    parts: tuple[Mapping[str, Floats], ...]
    taggers: tuple[str, ...]

    def __add__(self, other: ScoreRows) -> ScoreRows:
        """Return the rows of both, which must have the same taggers."""
        if not isinstance(other, ScoreRows):
            return NotImplemented
        if other.taggers != self.taggers:
            msg = f"rows of taggers {self.taggers} and {other.taggers}; they must be the same"
            raise ShapeError(msg)
        return ScoreRows(self.parts + other.parts, self.taggers)

    def __len__(self) -> int:
        """Return the number of rows."""
        return sum(part["label"].size for part in self.parts)

    def column(self, name: str) -> Floats:
        """Return one column of all rows."""
        return np.concatenate([part[name] for part in self.parts])

    def score(self, tagger: str) -> Floats:
        """Return the scores of one tagger for all rows."""
        return self.column(_SCORE + tagger)

    def ranks(self, *, bins: int) -> Ranks:
        """Return bins in the ranks of these scores."""
        scores = {tagger: self.score(tagger) for tagger in self.taggers}
        label, weight = self.column("label"), self.column("weight")
        return learn_ranks(scores, label=label, weight=weight, bins=bins)


_SCORE = "score of "


def score_rows(
    scores: Mapping[str, ArrayLike],
    *,
    labels: Mapping[str, NDArray[np.bool_]],
    weight: ArrayLike,
    values: Mapping[str, ArrayLike],
) -> ScoreRows:
    """Return the rows of the jets that have a label.

    Args:
        scores: Tagger -> scores in [0, 1] (rows,).
        labels: Truth label -> which rows have it; none has two.
        weight: Event weights (rows,).
        values: Variable -> its values (rows,).

    Raises:
        DataError: if a score is NaN or outside [0, 1].
    """
    place = np.full(np.shape(weight), -1.0)
    for label, rows in labels.items():
        place[rows] = LABELS.index(label)
    columns = {
        **{_SCORE + name: checked_score(given, name) for name, given in scores.items()},
        **{name: np.asarray(column, dtype=np.float64) for name, column in values.items()},
        "weight": np.asarray(weight, dtype=np.float64),
        "label": place,
    }
    kept = place >= 0.0
    return ScoreRows(({name: of[kept] for name, of in columns.items()},), tuple(scores))


def counted_scores(
    rows: ScoreRows,
    variable: str,
    *,
    ranks: Ranks | None = None,
    edges: Sequence[float] | None = None,
) -> Hist[Any]:
    """Return the histogram of scores and labels against a variable, as `score` makes it.

    Args:
        rows: The jets; those without the variable (NaN) are left out.
        variable: One of the columns and of `VARIABLES`.
        ranks: Bins in the rank of the score; None has bins of the score itself.
        edges: Bin edges of the variable, by default its own.
    """
    histogram = score(variable, taggers=rows.taggers, ranks=ranks, edges=edges)
    label, weight, values = (rows.column(name) for name in ("label", "weight", variable))
    for place, truth in enumerate(LABELS):
        chosen = (label == place) & ~np.isnan(values)
        for tagger in rows.taggers:
            fill_score(
                histogram,
                tagger=tagger,
                label=truth,
                score=rows.score(tagger)[chosen],
                values=values[chosen],
                weight=weight[chosen],
                ranks=ranks,
            )
    return histogram


def counted_sculpting(
    rows: ScoreRows,
    variable: str,
    *,
    ranks: Ranks | None = None,
    edges: Sequence[float] | None = None,
) -> Hist[Any]:
    """Return the histogram of ranks and masses of the background, as `sculpting` makes it.

    Args:
        rows: The jets, with a column `mass`; those without the variable (NaN) are left out.
        variable: One of the columns and of `VARIABLES`.
        ranks: Bins in the ranks.
        edges: Bin edges of the variable, by default its own.
    """
    histogram = sculpting(variable, taggers=rows.taggers, ranks=ranks, edges=edges)
    values = rows.column(variable)
    chosen = (rows.column("label") == LABELS.index("background")) & ~np.isnan(values)
    for tagger in rows.taggers:
        fill_sculpting(
            histogram,
            tagger=tagger,
            score=rows.score(tagger)[chosen],
            mass=rows.column("mass")[chosen],
            values=values[chosen],
            weight=rows.column("weight")[chosen],
            ranks=ranks,
        )
    return histogram
