"""The uncertainty of scores: against the score, under shifted inputs, against other networks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.special import expit

from hepcalib.metrics.counts import Counts, Floats, centres, counts, divide, edges, quantiles

if TYPE_CHECKING:
    from hist import Hist
    from numpy.typing import ArrayLike

__all__ = [
    "ScoreChange",
    "ScoreSpread",
    "WidthRatio",
    "WidthSpectrum",
    "linear_spread",
    "probit_mean",
    "score_changes",
    "score_spreads",
    "width_ratios",
    "width_spectra",
]

_LEVELS = (0.15865525393145707, 0.5, 0.8413447460685429)


class ScoreSpread(NamedTuple):
    """Mean standard deviation of the score in bins of the score, from one origin."""

    origin: str
    entries: float
    edges: Floats  # (bins + 1,) of the score
    centres: Floats  # (bins,)
    spread: Floats  # (bins,) mean
    spread_error: Floats  # (bins,)


class ScoreChange(NamedTuple):
    """What shifts of the inputs change, over the jets of one truth label."""

    label: str
    shifts: tuple[str, ...]
    mean: Floats  # (shifts,)
    mean_error: Floats  # (shifts,)
    width: Floats  # (shifts,) standard deviation over the jets
    low: Floats  # (shifts,) 16 % quantile
    median: Floats  # (shifts,)
    high: Floats  # (shifts,) 84 % quantile


class WidthSpectrum(NamedTuple):
    """Distribution of the standard deviation of the logit."""

    shift: str
    label: str
    entries: float
    edges: Floats
    density: Floats  # fraction of the jets per decade
    density_error: Floats
    median: float
    median_error: float


class WidthRatio(NamedTuple):
    """Median ratio of two widths of the logit of the same jets, in bins of the score and in all."""

    edges: Floats  # (bins + 1,) of the score
    centres: Floats  # (bins,)
    ratio: Floats  # (bins,)
    ratio_error: Floats  # (bins,)
    entries: float
    median: float
    median_error: float
    low: float  # 16 % quantile
    high: float  # 84 % quantile


def linear_spread(score: ArrayLike, width: ArrayLike) -> Floats:
    r"""Standard deviation of a score whose logit has a small one.

    .. math:: \sigma \approx \mu (1 - \mu) \sigma_a

    Reference: arXiv:1904.10004.

    Args:
        score: Mean score mu (...).
        width: Standard deviation of the logit (...).
    """
    mu = np.asarray(score, dtype=np.float64)
    return np.asarray(mu * (1.0 - mu) * np.asarray(width, dtype=np.float64))


def probit_mean(logit: ArrayLike, width: ArrayLike) -> Floats:
    r"""Mean score for a normally distributed logit, to better than 0.02 for any width.

    .. math:: \mu \approx \mathrm{sgm}\left( \mu_a / \sqrt{1 + \pi \sigma_a^2 / 8} \right)

    Reference: arXiv:1904.10004.

    Args:
        logit: Mean of the logit (...).
        width: Standard deviation of the logit (...).
    """
    a, s = np.asarray(logit, dtype=np.float64), np.asarray(width, dtype=np.float64)
    return np.asarray(expit(a / np.sqrt(1.0 + np.pi * s**2 / 8.0)))


def score_spreads(histogram: Hist[Any]) -> dict[str, ScoreSpread]:
    """Mean spread of the score in each bin of it, by origin.

    Args:
        histogram: What `hists.score_spread` returned, filled.
    """
    everything = counts(histogram)
    found = {}
    for place, origin in enumerate(str(name) for name in histogram.axes[0]):
        part = everything.at(place)
        mean, error = _moments(part, centres(histogram.axes[2]))[:2]
        found[origin] = ScoreSpread(
            origin,
            part.entries,
            edges(histogram.axes[1]),
            centres(histogram.axes[1]),
            mean,
            error,
        )
    return found


def score_changes(histogram: Hist[Any]) -> dict[str, ScoreChange]:
    """Mean and quantiles of the changes of each shift, by truth label; none without entries.

    Args:
        histogram: What `hists.score_change` returned, filled; mean and width are of the changes
            inside its axis.
    """
    everything = counts(histogram)
    axis = histogram.axes[2]
    found = {}
    for place, label in enumerate(str(name) for name in histogram.axes[1]):
        part = everything.at((slice(None), place))
        if part.entries <= 0.0:
            continue
        mean, error, width = _moments(part.at((slice(None), slice(1, -1))), centres(axis))
        levels = [quantiles(part.at(n), edges(axis), _LEVELS).values for n in range(len(mean))]
        shifts = tuple(str(name) for name in histogram.axes[0])
        found[label] = ScoreChange(label, shifts, mean, error, width, *np.stack(levels, axis=1))
    return found


def width_spectra(histogram: Hist[Any]) -> dict[str, dict[str, WidthSpectrum]]:
    """Distribution of the width of the logit, by shift and truth label; none without entries.

    Args:
        histogram: What `hists.logit_width` returned, filled; the shares are of all jets, those
            beyond the axis included.
    """
    everything, axis = counts(histogram), histogram.axes[2]
    decades = np.diff(np.log10(edges(axis)))
    found: dict[str, dict[str, WidthSpectrum]] = {}
    for row, shift in enumerate(str(name) for name in histogram.axes[0]):
        found[shift] = {}
        for column, label in enumerate(str(name) for name in histogram.axes[1]):
            part = everything.at((row, column))
            if part.entries <= 0.0:
                continue
            middle = quantiles(part, edges(axis), (0.5,))
            inside = part.at(slice(1, -1))
            found[shift][label] = WidthSpectrum(
                shift,
                label,
                part.entries,
                edges(axis),
                inside.values / part.total / decades,
                np.sqrt(inside.variances) / part.total / decades,
                float(middle.values[0]),
                float(middle.errors[0]),
            )
    return found


def width_ratios(histogram: Hist[Any]) -> WidthRatio:
    """Median ratio of the widths, in bins of the score and of all jets.

    Args:
        histogram: What `hists.width_ratio` returned, filled.
    """
    everything, axis = counts(histogram), histogram.axes[1]
    bins = [quantiles(everything.at(n), edges(axis), (0.5,)) for n in range(histogram.axes[0].size)]
    total = quantiles(everything.sum(0), edges(axis), _LEVELS)
    return WidthRatio(
        edges(histogram.axes[0]),
        centres(histogram.axes[0]),
        np.array([float(found.values[0]) for found in bins]),
        np.array([float(found.errors[0]) for found in bins]),
        total.entries,
        float(total.values[1]),
        float(total.errors[1]),
        float(total.values[0]),
        float(total.values[2]),
    )


def _moments(part: Counts, at: Floats) -> tuple[Floats, Floats, Floats]:
    """Return mean, its error and the standard deviation along the last axis, (...) each."""
    total = part.values.sum(axis=-1)
    share = divide(part.values, total[..., None])
    mean = share @ at
    width = np.sqrt(np.clip((share * (at - mean[..., None]) ** 2).sum(axis=-1), 0.0, None))
    entries = divide(total**2, part.variances.sum(axis=-1))
    return mean, width / np.sqrt(entries), width
