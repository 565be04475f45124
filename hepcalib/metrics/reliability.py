"""Whether a score is the probability that it claims to be: reliability diagram."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hepcalib.exceptions import DataError
from hepcalib.metrics.counts import Counts, Floats, divide, edges
from hepcalib.metrics.cuts import labelled

if TYPE_CHECKING:
    from hist import Hist
    from numpy.typing import NDArray

__all__ = ["Reliability", "reliability", "reliability_curve"]


class Reliability(NamedTuple):
    """Share of signal among the jets of a score, in bins of the score."""

    tagger: str
    edges: Floats  # (bins + 1,)
    score: Floats  # (bins,) mean score in the bin
    fraction: Floats  # (bins,) signal among the jets of the bin
    fraction_error: Floats  # (bins,)
    share: Floats  # (bins,) of all jets in the bin
    error: float  # expected calibration error
    error_if_right: float  # its mean for scores that are probabilities, from as many jets
    error_spread: float  # and its standard deviation for such scores
    signal_share: float


def reliability_curve(
    signal: Counts,
    background: Counts,
    at: Floats,
    *,
    bins: int = 15,
    signal_share: float | None = None,
    tagger: str = "",
) -> Reliability:
    r"""Compare scores with the share of signal, in equal bins of the score.

    .. math:: ECE = \sum_b \frac{n_b}{n} \left| f_b - \bar s_b \right|

    with the share f of signal and the mean score of each bin. Even of right scores it is not 0: the
    fluctuations of f alone give :math:`\sum_b \frac{n_b}{n} \sqrt{2 / \pi} \, \sigma_{f_b}`.

    Reference: arXiv:1706.04599.

    Args:
        signal: Scores of the signal in fine bins (fine,).
        background: Scores of the background (fine,).
        at: Edges of the fine bins (fine + 1,); a score counts as the centre of its bin.
        bins: Number of bins; a fine bin belongs where its centre is.
        signal_share: Share of the signal that the scores are for: that of the training. Both
            classes are scaled to it. None takes the share that there is.
        tagger: Name of the tagger.

    Raises:
        DataError: if the share is not between 0 and 1.
    """
    if signal_share is not None and not 0.0 < signal_share < 1.0:
        msg = f"signal_share is {signal_share}; needed: between 0 and 1"
        raise DataError(msg)
    total = signal.total + background.total
    share = float(divide(signal.total, total)) if signal_share is None else signal_share
    coarse, middle = np.linspace(0.0, 1.0, bins + 1), 0.5 * (at[1:] + at[:-1])
    place = np.clip(np.searchsorted(coarse, middle, side="right") - 1, 0, bins - 1)
    scaled = _scaled(signal, share), _scaled(background, 1.0 - share)
    s, b = (Counts(*(_summed_in(place, column, bins) for column in part)) for part in scaled)
    both = s.values + b.values
    weighted = _summed_in(place, middle * (scaled[0].values + scaled[1].values), bins)
    score, fraction = divide(weighted, both), divide(s.values, both)
    known = both > 0.0
    expected = _binomial_error(score, s, b)
    part = divide(both, both.sum())
    mean = np.sqrt(2.0 / np.pi) * expected
    return Reliability(
        tagger=tagger,
        edges=coarse,
        score=score,
        fraction=fraction,
        fraction_error=np.where(known, np.maximum(_binomial_error(fraction, s, b), 0.0), np.nan),
        share=part,
        error=_summed(part * np.abs(fraction - score), known),
        error_if_right=_summed(part * mean, known),
        error_spread=float(np.sqrt(_summed((part * expected) ** 2 * (1.0 - 2.0 / np.pi), known))),
        signal_share=share,
    )


def reliability(
    histogram: Hist[Any], *, bins: int = 15, signal_share: float | None = None
) -> dict[str, Reliability]:
    """Reliability diagram of each tagger.

    Args:
        histogram: What `hists.score` returned, filled; whatever its variable, flow included.
        bins: As of `reliability_curve`.
        signal_share: As of `reliability_curve`.

    Raises:
        DataError: if the share is not between 0 and 1.
    """
    at = edges(histogram.axes[2])
    return {
        tagger: reliability_curve(
            signal.sum(1),
            background.sum(1),
            at,
            bins=bins,
            signal_share=signal_share,
            tagger=tagger,
        )
        for tagger, signal, background in labelled(histogram)
    }


def _binomial_error(p: Floats, signal: Counts, background: Counts) -> Floats:
    r"""Error of the share of signal where p is expected, both numbers Poissonian.

    .. math:: \sigma^2 = \left[ (1 - p)^2 \sum_s w^2 + p^2 \sum_b w^2 \right] / (\sum w)^2

    with the sums of squared weights that p itself expects, from the mean weights of both classes.
    """
    total = signal.values + background.values
    weights = [divide(part.variances.sum(), part.values.sum()) for part in (signal, background)]
    squares = p * total * weights[0], (1.0 - p) * total * weights[1]
    variance = (1.0 - p) ** 2 * squares[0] + p**2 * squares[1]
    return np.sqrt(np.clip(divide(variance, total**2), 0.0, None))


def _scaled(part: Counts, total: float) -> Counts:
    """Return counts of this sum of weights; NaN if there is none."""
    scale = float(divide(total, part.total))
    return Counts(part.values * scale, part.variances * scale**2)


def _summed_in(place: NDArray[np.int64], column: Floats, bins: int) -> Floats:
    return np.bincount(place, weights=column, minlength=bins).astype(np.float64)


def _summed(values: Floats, known: Any) -> float:
    return float(values[known].sum()) if known.any() else float("nan")
