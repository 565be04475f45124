"""Taggers held against each other: area under the ROC curve, rejection, size and speed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hepcalib.metrics.bootstrap import drawn_cells, spread
from hepcalib.metrics.counts import Counts, Floats, counts, divide
from hepcalib.metrics.cuts import cut_at, labelled, passing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hist import Hist

__all__ = ["TaggerCost", "TaggerMerit", "tagger_costs", "tagger_merits"]


class TaggerMerit(NamedTuple):
    """How well a tagger separates, with errors from bootstrap replicas of the jets."""

    tagger: str
    signal_entries: float
    background_entries: float
    auc: float
    auc_error: float
    signal_efficiencies: Floats  # (working points,)
    rejections: Floats  # (working points,) 1 / background efficiency
    rejection_errors: Floats  # (working points,)


class TaggerCost(NamedTuple):
    """What a tagger costs; NaN where it was not counted or measured."""

    tagger: str
    jets: float
    parameters: float
    jets_per_second: float  # of the machine and threads that made the histogram


def tagger_merits(
    histogram: Hist[Any],
    *,
    signal_efficiencies: Sequence[float] = (0.5, 0.3),
    replicas: int = 300,
    seed: int = 0,
) -> dict[str, TaggerMerit]:
    """Area under the ROC curve and background rejections of each tagger.

    A replica has every jet as often as a Poisson number of mean 1 says. Only the histogram is
    needed for it: the number of jets in a bin is then a Poisson number too. Taggers that saw the
    same jets fluctuate together, so that a difference of two is known better than their errors say.

    Args:
        histogram: What `hists.score` returned, filled; whatever its variable, flow included.
        signal_efficiencies: Working points, each in (0, 1).
        replicas: Number of replicas.
        seed: Seed of the replicas.
    """
    points = np.asarray(signal_efficiencies, dtype=np.float64)
    found = {}
    for tagger, *classes in labelled(histogram):
        signal, background = (part.sum(1) for part in classes)
        if not (signal.entries and background.entries):
            nothing = np.full(points.shape, np.nan)
            merit = (np.nan, np.nan, points, nothing, nothing)
        else:
            drawn = [
                drawn_cells(part.values, part.variances, replicas=replicas, seed=seed + place)
                for place, part in enumerate((signal, background))
            ]
            areas = _areas(*drawn)
            rejections = np.stack([_rejections(s, b, points) for s, b in zip(*drawn, strict=True)])
            errors = spread(rejections.T)
            merit = (float(areas[0]), float(spread(areas)), points, rejections[0], errors)
        found[tagger] = TaggerMerit(tagger, signal.entries, background.entries, *merit)
    return found


def tagger_costs(histogram: Hist[Any]) -> dict[str, TaggerCost]:
    """Number of parameters and jets per second of each tagger.

    Args:
        histogram: What `hists.tagger_cost` returned, filled.
    """
    found = {}
    for place, tagger in enumerate(str(name) for name in histogram.axes[0]):
        jets, parameters, timed, seconds = counts(histogram).values[place, 1:-1]
        speed = divide(timed, seconds)
        found[tagger] = TaggerCost(
            tagger, float(jets), float(divide(parameters, jets)), float(speed)
        )
    return found


def _areas(signal: Floats, background: Floats) -> Floats:
    """Return the area under the ROC curve of each replica: (replicas, bins) -> (replicas,)."""
    s = divide(signal, signal.sum(axis=1, keepdims=True))
    b = divide(background, background.sum(axis=1, keepdims=True))
    below = np.cumsum(b, axis=1) - 0.5 * b
    return np.asarray((s * below).sum(axis=1))


def _rejections(signal: Floats, background: Floats, points: Floats) -> Floats:
    """Return one over the background efficiency at each signal efficiency, (points,)."""
    s, b = Counts(signal, signal), Counts(background, background)
    cuts = [cut_at(s, float(point)) for point in points]
    passed = [np.nan if cut is None else float(passing(b, cut).values) for cut in cuts]
    return divide(b.total, np.array(passed))
