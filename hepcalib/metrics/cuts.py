"""A cut on binned scores, and the efficiency of what passes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hepcalib.metrics.counts import Counts, Floats, counts, divide

if TYPE_CHECKING:
    from hist import Hist

__all__ = ["Cut", "cut_at", "efficiency_and_error", "labelled", "passing", "ranks"]


class Cut(NamedTuple):
    """A cut on binned scores: all bins above `bin` pass, and a fraction of that bin."""

    bin: int
    fraction: float


def cut_at(scores: Counts, efficiency: float) -> Cut | None:
    """Return the cut on scores (bins,) with the given efficiency, or None without entries.

    The bin where the efficiency is reached passes by a fraction, as if its jets were drawn at
    random: this is the linear interpolation of the ROC curve. In bins of the rank that is a small
    share of the jets; of jets that all have one score, nothing else can be told.
    """
    if scores.entries <= 0.0:
        return None
    above = np.maximum.accumulate(np.cumsum(scores.values[::-1])) / scores.total
    place = min(int(np.searchsorted(above, efficiency)), above.size - 1)
    before = float(above[place - 1]) if place else 0.0
    step = float(above[place]) - before
    fraction = (efficiency - before) / step if step > 0.0 else 1.0
    return Cut(above.size - 1 - place, min(max(fraction, 0.0), 1.0))


def passing(scores: Counts, cut: Cut) -> Counts:
    """Return what passes, summed over the scores: (bins, ...) -> (...)."""
    above, split = scores.at(slice(cut.bin + 1, None)).sum(0), scores.at(cut.bin)
    return Counts(
        above.values + cut.fraction * split.values,
        above.variances + cut.fraction * split.variances,
    )


def ranks(scores: Counts) -> Floats:
    """Return the middle rank of each bin of scores, (bins,): the share below, ties half."""
    share = np.nan_to_num(divide(np.clip(scores.values, 0.0, None), scores.total))
    return np.asarray(np.cumsum(share) - 0.5 * share)


def efficiency_and_error(passed: Counts, everything: Counts) -> tuple[Floats, Floats]:
    r"""Efficiency of weighted events and its error, bin by bin; NaN without entries.

    .. math:: var(e) = [(1 - 2 e) \sum_{pass} w^2 + e^2 \sum_{all} w^2] / (\sum_{all} w)^2

    where that vanishes (none or all pass) the standard deviation of the Bayesian posterior with a
    flat prior, with the effective number of entries.
    """
    e = divide(passed.values, everything.values)
    variance = (1.0 - 2.0 * e) * passed.variances + e**2 * everything.variances
    error = np.sqrt(np.clip(divide(variance, everything.values**2), 0.0, None))
    n = divide(everything.values**2, everything.variances)
    k = np.clip(e, 0.0, 1.0) * n
    posterior = np.sqrt((k + 1.0) * (n - k + 1.0) / ((n + 2.0) ** 2 * (n + 3.0)))
    return e, np.where(error > 0.0, error, posterior)


def labelled(histogram: Hist[Any]) -> list[tuple[str, Counts, Counts]]:
    """Return name, signal and background (scores, bins + 2) of each tagger."""
    everything = counts(histogram)
    labels = [str(label) for label in histogram.axes[1]]
    signal, background = labels.index("signal"), labels.index("background")
    return [
        (str(tagger), everything.at((place, signal)), everything.at((place, background)))
        for place, tagger in enumerate(histogram.axes[0])
    ]
