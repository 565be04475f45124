"""Processors that count jets in bins of the rank of their scores."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from coffea.processor import ProcessorABC

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from hist import Hist

    from hepcalib.hists import Ranks, ScoreRows

__all__ = ["Ranked"]


class Ranked(ProcessorABC):  # type: ignore[misc]  # coffea is untyped
    """A processor whose histograms are in the ranks of scores.

    Without ranks a chunk gives rows, which `postprocess` counts when all are there, in their own
    ranks. `hepcalib.run.process` lets a processor of many events learn the ranks from some of them
    first, so that each chunk gives histograms.
    """

    bins: tuple[int, ...] = (2000,)  # of the ranks, each for some of the histograms
    columns: str | None = None  # folder of the per-object output
    ranks: tuple[Ranks, ...] | None = None

    def pilot(self) -> Self:
        """Return the processor of those events that the ranks are learned from."""
        found = copy.copy(self)
        found.ranks, found.columns = None, None
        return found

    def informed(self, output: Mapping[str, Any]) -> Self:
        """Return the processor with ranks, from the output of its pilot."""
        found = copy.copy(self)
        found.ranks = self._learnt(output["rows"])
        return found

    def counted(self, rows: ScoreRows, *ranks: Ranks) -> dict[str, Hist[Any]]:
        """Return the histograms of rows, in ranks with each number of bins."""
        raise NotImplementedError

    def collected(self, rows: ScoreRows) -> dict[str, Any]:
        """Return what a chunk gives: histograms if there are ranks, or rows."""
        return {"rows": rows} if self.ranks is None else self.counted(rows, *self.ranks)

    def postprocess(self, accumulator: dict[str, Any]) -> dict[str, Hist[Any]]:
        """Return the sum, with rows counted."""
        found = dict(accumulator)
        rows = found.pop("rows", None)
        return found if rows is None else found | self.counted(rows, *self._learnt(rows))

    def _learnt(self, rows: ScoreRows) -> tuple[Ranks, ...]:
        return tuple(rows.ranks(bins=bins) for bins in self.bins)
