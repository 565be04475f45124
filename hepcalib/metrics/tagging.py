"""What a tagger does: ROC curve, rejection, efficiency profiles, score distributions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hepcalib.exceptions import DataError, suggestion
from hepcalib.metrics.counts import Counts, Floats, centres, counts, divide, edges
from hepcalib.metrics.cuts import cut_at, efficiency_and_error, labelled, passing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hist import Hist

__all__ = [
    "EfficiencyProfile",
    "Rejection",
    "Roc",
    "ScoreDistribution",
    "efficiency_profile",
    "rejection",
    "rejection_at",
    "roc",
    "roc_curve",
    "score_distribution",
]


class Roc(NamedTuple):
    """Efficiencies for every cut on the score, from none to all, and the area under the curve."""

    signal_efficiency: Floats
    background_efficiency: Floats
    rejection: Floats  # NaN where no background passes
    rejection_error: Floats
    auc: float
    auc_error: float
    signal_entries: float
    background_entries: float


class Rejection(NamedTuple):
    """One over the background efficiency at a signal efficiency: R50, R30."""

    signal_efficiency: float
    background_efficiency: float
    background_efficiency_error: float
    rejection: float
    rejection_error: float


class EfficiencyProfile(NamedTuple):
    """Efficiency in bins of a variable at cuts of given inclusive background efficiencies."""

    tagger: str
    label: str
    variable: str
    edges: Floats
    centres: Floats
    working_points: Floats  # (W,)
    efficiency: Floats  # (W, bins)
    efficiency_error: Floats  # (W, bins)


class ScoreDistribution(NamedTuple):
    """Score of the jets of one truth label, normalised to unit area."""

    tagger: str
    label: str
    entries: float
    edges: Floats
    density: Floats
    density_error: Floats


def roc_curve(signal: Counts, background: Counts) -> Roc:
    r"""ROC curve from binned scores, with DeLong's error of the area under it.

    The area is the probability that a signal jet scores higher than a background jet, ties half.
    With V the fraction of the other class below a score, its variance is
    :math:`Var_s(V)/n_s + Var_b(V)/n_b`.

    Args:
        signal: Scores of the signal (bins,).
        background: Scores of the background (bins,).

    Returns:
        Efficiencies (bins + 1,), from no jet passing to all; NaN without signal or background.
    """
    totals = [part.total if part.entries > 0.0 else np.nan for part in (signal, background)]
    s, b = divide(signal.values, totals[0]), divide(background.values, totals[1])
    b_below = np.cumsum(b) - 0.5 * b
    s_above = 1.0 - np.cumsum(s) + 0.5 * s
    auc = float(s @ b_below)
    variance = divide(s @ (b_below - auc) ** 2, signal.entries)
    variance = variance + divide(b @ (s_above - auc) ** 2, background.entries)
    passed = Counts(*(np.cumsum([0.0, *column[::-1]]) for column in background))
    e, error = efficiency_and_error(passed, background.sum(0))
    return Roc(
        signal_efficiency=np.cumsum([0.0, *s[::-1]]),
        background_efficiency=e,
        rejection=divide(1.0, e),
        rejection_error=divide(error, e**2),
        auc=auc,
        auc_error=float(np.sqrt(np.clip(variance, 0.0, None))),
        signal_entries=signal.entries,
        background_entries=background.entries,
    )


def rejection_at(signal: Counts, background: Counts, *, signal_efficiency: float) -> Rejection:
    """Background rejection at a signal efficiency, from binned scores.

    The error has two parts: the binomial one of the background, and half the change of the
    background efficiency when that of the signal moves by plus and minus its own binomial error.

    Args:
        signal: Scores of the signal (bins,).
        background: Scores of the background (bins,).
        signal_efficiency: Efficiency of the cut, in (0, 1).

    Returns:
        The rejection; NaN without signal, without background or if no background passes.
    """
    n = signal.entries
    sigma = float(np.sqrt(signal_efficiency * (1.0 - signal_efficiency) / n)) if n else np.nan
    found = []
    for shifted in (signal_efficiency, signal_efficiency - sigma, signal_efficiency + sigma):
        cut = cut_at(signal, shifted)
        if cut is None or background.entries <= 0.0:
            return Rejection(signal_efficiency, np.nan, np.nan, np.nan, np.nan)
        passed = passing(background, cut)
        found.append(efficiency_and_error(passed, background.sum(0)))
    (e, binomial), (low, _), (high, _) = found
    error = float(np.hypot(binomial, 0.5 * (high - low)))
    inverse = divide(1.0, e)
    return Rejection(signal_efficiency, float(e), error, float(inverse), float(inverse**2 * error))


def roc(histogram: Hist[Any]) -> dict[str, Roc]:
    """ROC curve of each tagger.

    Args:
        histogram: What `hists.score` returned, filled; whatever its variable, flow included.
    """
    return {
        tagger: roc_curve(signal.sum(1), background.sum(1))
        for tagger, signal, background in labelled(histogram)
    }


def rejection(histogram: Hist[Any], *, signal_efficiency: float = 0.5) -> dict[str, Rejection]:
    """Background rejection of each tagger at a signal efficiency: R50 by default.

    Args:
        histogram: What `hists.score` returned, filled; whatever its variable, flow included.
        signal_efficiency: Efficiency of the cut, in (0, 1).
    """
    return {
        tagger: rejection_at(signal.sum(1), background.sum(1), signal_efficiency=signal_efficiency)
        for tagger, signal, background in labelled(histogram)
    }


def efficiency_profile(
    histogram: Hist[Any],
    *,
    label: str = "background",
    background_efficiencies: Sequence[float] = (0.05, 0.1, 0.2, 0.4, 0.8),
) -> dict[str, EfficiencyProfile]:
    """Efficiency of each tagger in bins of the variable, at cuts that are the same in every bin.

    Args:
        histogram: What `hists.score` returned, filled.
        label: Whose efficiency: background or signal.
        background_efficiencies: Each sets one cut, by the efficiency for all background (W,).

    Returns:
        Tagger -> efficiency and error (W, bins); NaN in empty bins.

    Raises:
        DataError: if the label is neither.
    """
    if label not in ("background", "signal"):
        msg = f"no efficiency for label {label!r}. {suggestion(label, ('background', 'signal'))}"
        raise DataError(msg)
    axis = histogram.axes[3]
    results = {}
    for tagger, signal, background in labelled(histogram):
        chosen = (background if label == "background" else signal).at((slice(None), slice(1, -1)))
        rows = []
        for working_point in background_efficiencies:
            cut = cut_at(background.sum(1), working_point)
            nothing = np.full((2, axis.size), np.nan)
            rows.append(
                nothing
                if cut is None
                else np.stack(efficiency_and_error(passing(chosen, cut), chosen.sum(0)))
            )
        stacked = np.stack(rows)
        results[tagger] = EfficiencyProfile(
            tagger=tagger,
            label=label,
            variable=axis.name,
            edges=edges(axis),
            centres=centres(axis),
            working_points=np.asarray(background_efficiencies, dtype=np.float64),
            efficiency=stacked[:, 0],
            efficiency_error=stacked[:, 1],
        )
    return results


def score_distribution(
    histogram: Hist[Any], *, bins: int = 50
) -> dict[str, dict[str, ScoreDistribution]]:
    """Score distribution of each tagger and truth label, in equal bins on [0, 1].

    Args:
        histogram: What `hists.score` returned, filled.
        bins: Number of bins; the fine ones that they cut are shared in proportion.

    Returns:
        Tagger -> label -> distribution of unit area; labels without entries are left out.
    """
    everything = counts(histogram).sum(3)
    fine, coarse = edges(histogram.axes[2]), np.linspace(0.0, 1.0, bins + 1)
    results: dict[str, dict[str, ScoreDistribution]] = {}
    for place, tagger in enumerate(str(name) for name in histogram.axes[0]):
        results[tagger] = {}
        for index, label in enumerate(str(name) for name in histogram.axes[1]):
            part = everything.at((place, index))
            if part.entries <= 0.0:
                continue
            values, variances = (
                np.diff(np.interp(coarse, fine, np.concatenate([[0.0], np.cumsum(column)])))
                for column in part
            )
            results[tagger][label] = ScoreDistribution(
                tagger=tagger,
                label=label,
                entries=part.entries,
                edges=coarse,
                density=values * bins / part.total,
                density_error=np.sqrt(np.clip(variances, 0.0, None)) * bins / part.total,
            )
    return results
