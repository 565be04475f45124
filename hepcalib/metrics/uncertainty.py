"""Are the predicted uncertainties right, and what do they say: pulls and spectrum."""

from __future__ import annotations

from statistics import NormalDist
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hepcalib.metrics.counts import Counts, Floats, centres, counts, divide, edges, quantiles

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hist import Hist

__all__ = [
    "Pull",
    "PullFractions",
    "UncertaintySpectrum",
    "pull_fractions",
    "pulls",
    "uncertainty_spectrum",
]

_ONE_SIGMA = NormalDist().cdf(-1.0)
_SMOOTHING = 2.0  # standard deviation of the kernel [bins]
_SIGNIFICANCE = 5.0  # of a peak above the valley beside it, in standard errors
_PROMINENCE = 0.02  # of a peak above the valley beside it, in units of the highest


class Pull(NamedTuple):
    """Residuals over one kind of uncertainty.

    Right total uncertainties give mean 0 and width 1; the residual over a part of it is no pull.
    """

    kind: str
    entries: float
    mean: float
    mean_error: float
    width: float  # standard deviation of all entries
    width_error: float
    robust_width: float  # (q84 - q16) / 2
    robust_width_error: float
    edges: Floats
    centres: Floats
    density: Floats
    density_error: Floats


class PullFractions(NamedTuple):
    """Fraction of the pulls inside plus and minus the quantile of a normal at each level.

    It is the coverage of a symmetric interval around the mean, not of the one that a prediction
    hands out; `coverage_profile` has that.
    """

    kind: str
    entries: float
    levels: Floats
    fraction: Floats
    fraction_error: Floats


class UncertaintySpectrum(NamedTuple):
    """Distribution of the relative uncertainty of one kind, with its maxima and its valley."""

    kind: str
    entries: float
    edges: Floats
    centres: Floats
    density: Floats  # fraction per decade
    density_error: Floats
    smoothed: Floats
    peaks: tuple[float, ...]  # relative uncertainties, ascending
    valley: float | None  # between the two highest peaks


def pulls(histogram: Hist[Any], *, minimum_entries: float = 10.0) -> dict[str, Pull]:
    r"""Mean and widths of the pulls :math:`t = (prediction - truth) / \sigma` of each kind.

    Every entry counts, at the centre of its bin or at the end of the axis (1e7) that it lies
    beyond. Errors: width / sqrt(n), and sqrt((m4 - m2^2) / (4 n m2)).

    Args:
        histogram: What `hists.pull` returned, filled.
        minimum_entries: Kinds with fewer effective entries give NaN.

    Returns:
        Name of the kind in `hists.PULLS` -> its widths.
    """
    everything = counts(histogram)
    return {
        str(kind): _pull(str(kind), everything.at(place), histogram.axes[1], minimum_entries)
        for place, kind in enumerate(histogram.axes[0])
    }


def _pull(kind: str, part: Counts, axis: Any, minimum_entries: float) -> Pull:
    enough = part.entries >= max(minimum_entries, 1e-9)
    share = divide(part.values, part.total if enough else np.nan)
    at = np.concatenate([edges(axis)[:1], centres(axis), edges(axis)[-1:]])
    mean = float(share @ at)
    square, fourth = (float(share @ (at - mean) ** power) for power in (2, 4))
    width = float(np.sqrt(max(square, 0.0))) if enough else np.nan
    found = quantiles(
        part, edges(axis), (_ONE_SIGMA, 1.0 - _ONE_SIGMA), minimum_entries=minimum_entries
    )
    halves = np.array([-0.5, 0.5])
    entries = part.entries if enough else np.nan
    bins = np.diff(edges(axis))
    return Pull(
        kind=kind,
        entries=part.entries,
        mean=mean,
        mean_error=float(width / np.sqrt(entries)),
        width=width,
        width_error=float(np.sqrt(divide(max(fourth - square**2, 0.0), 4.0 * entries * square))),
        robust_width=float(halves @ found.values),
        robust_width_error=float(np.sqrt(halves @ found.covariance @ halves)),
        edges=edges(axis),
        centres=centres(axis),
        density=share[1:-1] / bins,
        density_error=divide(np.sqrt(part.variances[1:-1]), part.total if enough else np.nan)
        / bins,
    )


def pull_fractions(
    histogram: Hist[Any], *, levels: Sequence[float] = (0.68, 0.95), minimum_entries: float = 10.0
) -> dict[str, PullFractions]:
    r"""Fraction of pulls inside :math:`\pm z`, the central interval of a normal at each level.

    Args:
        histogram: What `hists.pull` returned, filled.
        levels: Nominal coverages (levels,).
        minimum_entries: Kinds with fewer effective entries give NaN.

    Returns:
        Kind -> fraction (levels,), with the binomial error sqrt(f (1 - f) / n).
    """
    nominal = np.asarray(levels, dtype=np.float64)
    reach = np.array([NormalDist().inv_cdf(0.5 + 0.5 * level) for level in nominal])
    everything = counts(histogram)
    at = edges(histogram.axes[1])
    results = {}
    for place, kind in enumerate(histogram.axes[0]):
        part = everything.at(place)
        entries = part.entries if part.entries >= max(minimum_entries, 1e-9) else np.nan
        cumulative = divide(np.cumsum(part.values)[:-1], part.total + 0.0 * entries)
        fraction = np.interp(reach, at, cumulative) - np.interp(-reach, at, cumulative)
        variance = np.clip(fraction * (1.0 - fraction), 0.0, None) / entries
        error = np.sqrt(variance)
        results[str(kind)] = PullFractions(str(kind), part.entries, nominal, fraction, error)
    return results


def uncertainty_spectrum(histogram: Hist[Any]) -> dict[str, UncertaintySpectrum]:
    r"""Distribution of :math:`\sigma / R` of each kind, with the maxima and the valley found.

    The counts are smoothed by a Gaussian of two bins (of 0.01 decades each on the axis of
    `hists.uncertainty`), reflected at the ends. A maximum counts if it stands above the valley that
    separates it from any higher one by 5 standard errors and by 2 % of the highest maximum. The
    valley is the minimum between the two highest maxima; with a single maximum there is none.

    Reference: ATLAS, arXiv:2412.04370.

    Args:
        histogram: What `hists.uncertainty` returned, filled.
    """
    everything = counts(histogram)
    return {
        str(kind): _spectrum(str(kind), everything.at(place), histogram.axes[1])
        for place, kind in enumerate(histogram.axes[0])
    }


def _spectrum(kind: str, part: Counts, axis: Any) -> UncertaintySpectrum:
    inside = part.at(slice(1, -1))
    total = inside.total if inside.entries > 0.0 else np.nan
    kernel = np.exp(-0.5 * (np.arange(-8, 9) / _SMOOTHING) ** 2)
    kernel /= kernel.sum()
    smoothed = _convolve(inside.values, kernel)
    error = np.sqrt(np.clip(_convolve(inside.variances, kernel**2), 0.0, None))
    peaks, valley = _peaks_and_valley(smoothed, error)
    decades = np.diff(np.log10(edges(axis)))
    return UncertaintySpectrum(
        kind=kind,
        entries=part.entries,
        edges=edges(axis),
        centres=centres(axis),
        density=divide(inside.values, total) / decades,
        density_error=divide(np.sqrt(inside.variances), total) / decades,
        smoothed=divide(smoothed, total) / decades,
        peaks=tuple(float(centres(axis)[peak]) for peak in peaks),
        valley=None if valley is None else float(centres(axis)[valley]),
    )


def _convolve(values: Floats, kernel: Floats) -> Floats:
    reach = kernel.size // 2
    return np.convolve(np.pad(values, reach, mode="symmetric"), kernel, mode="valid")


def _peaks_and_valley(smoothed: Floats, error: Floats) -> tuple[list[int], int | None]:
    """Return the bins of the significant maxima and of the valley between the highest two."""
    inner = smoothed[1:-1]
    maxima = 1 + np.flatnonzero((inner > smoothed[:-2]) & (inner >= smoothed[2:]) & (inner > 0.0))
    ranked = [int(place) for place in maxima[np.argsort(-smoothed[maxima], kind="stable")]]
    kept: list[int] = []
    for peak in ranked:
        if all(_separated(peak, higher, smoothed, error) for higher in kept):
            kept.append(peak)
    if len(kept) < 2:
        return kept, None
    return sorted(kept), _lowest(kept[0], kept[1], smoothed)


def _lowest(one: int, other: int, smoothed: Floats) -> int:
    first, last = min(one, other), max(one, other)
    return first + int(np.argmin(smoothed[first : last + 1]))


def _separated(peak: int, higher: int, smoothed: Floats, error: Floats) -> bool:
    valley = _lowest(peak, higher, smoothed)
    depth = smoothed[peak] - smoothed[valley]
    noise = np.hypot(error[peak], error[valley])
    return bool(depth > _SIGNIFICANCE * noise and depth > _PROMINENCE * smoothed[higher])
