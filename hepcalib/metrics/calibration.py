"""Linearity, relative resolution and spectra of energy scales."""

from __future__ import annotations

from statistics import NormalDist
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hepcalib.exceptions import ConfigError, suggestion
from hepcalib.metrics.counts import Counts, Floats, centres, counts, divide, edges, quantiles

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hist import Hist

    from hepcalib.metrics.counts import Quantiles

__all__ = ["Linearity", "Resolution", "Spectrum", "linearity", "resolution", "spectra"]

_ONE_SIGMA = NormalDist().cdf(-1.0)


class Linearity(NamedTuple):
    """Median response of one scale in bins of a variable."""

    variable: str
    quantity: str  # label of the response
    scale: str
    edges: Floats
    centres: Floats
    median: Floats
    median_error: Floats
    entries: Floats

    @property
    def linearity(self) -> Floats:
        """Median response minus one; the best is 0."""
        return self.median - 1.0


class Resolution(NamedTuple):
    """Relative resolution of one scale in bins of a variable."""

    variable: str
    quantity: str  # label of the response
    scale: str
    edges: Floats
    centres: Floats
    resolution: Floats
    resolution_error: Floats
    entries: Floats


class Spectrum(NamedTuple):
    """Spectrum of one scale, and its ratio to the spectrum of a reference scale."""

    quantity: str
    scale: str
    reference: str
    edges: Floats
    centres: Floats
    density: Floats  # weighted entries / GeV
    density_error: Floats
    ratio: Floats
    ratio_error: Floats


def linearity(histogram: Hist[Any], *, minimum_entries: float = 10.0) -> dict[str, Linearity]:
    r"""Median of the response of each scale, :math:`median(E / E_{true})`, in bins of the variable.

    Reference: ATLAS, arXiv:2412.04370.

    Args:
        histogram: What `hists.response` returned, filled.
        minimum_entries: Bins with fewer effective entries give NaN.

    Returns:
        Scale -> result; arrays (bins,).
    """
    results = {}
    for scale, bins in _slices(histogram, (0.5,), minimum_entries):
        results[scale] = Linearity(
            variable=histogram.axes[1].name,
            quantity=histogram.axes[2].label,
            scale=scale,
            edges=edges(histogram.axes[1]),
            centres=centres(histogram.axes[1]),
            median=np.array([found.values[0] for found in bins]),
            median_error=np.array([found.errors[0] for found in bins]),
            entries=np.array([found.entries for found in bins]),
        )
    return results


def resolution(histogram: Hist[Any], *, minimum_entries: float = 10.0) -> dict[str, Resolution]:
    r"""Relative resolution of each scale in bins of the variable.

    .. math:: (q_{84} - q_{16}) / (2 q_{50})

    with the quantiles of the response at minus one, zero and one standard deviation of a normal; a
    log-normal response of width s gives sinh s. The error comes from the asymptotic covariance of
    the three quantiles.

    Reference: ATLAS, arXiv:2412.04370.

    Args:
        histogram: What `hists.response` returned, filled.
        minimum_entries: Bins with fewer effective entries give NaN.

    Returns:
        Scale -> result; arrays (bins,).
    """
    results = {}
    probabilities = (_ONE_SIGMA, 0.5, 1.0 - _ONE_SIGMA)
    for scale, bins in _slices(histogram, probabilities, minimum_entries):
        widths = np.array([_relative_width(found) for found in bins])
        results[scale] = Resolution(
            variable=histogram.axes[1].name,
            quantity=histogram.axes[2].label,
            scale=scale,
            edges=edges(histogram.axes[1]),
            centres=centres(histogram.axes[1]),
            resolution=widths[:, 0],
            resolution_error=widths[:, 1],
            entries=np.array([found.entries for found in bins]),
        )
    return results


def spectra(histogram: Hist[Any], *, reference: str) -> dict[str, Spectrum]:
    """Spectrum of each scale per GeV, and its ratio to that of a reference scale.

    The errors of the ratio take the two as independent, although they are of the same objects: they
    say how well each spectrum is known, not how significant a difference is.

    Args:
        histogram: What `hists.spectrum` returned, filled.
        reference: Name of the scale to divide by.

    Raises:
        ConfigError: if there is no such scale.
    """
    scales = [str(scale) for scale in histogram.axes[0]]
    if reference not in scales:
        msg = f"unknown reference scale {reference!r}. {suggestion(reference, scales)}"
        raise ConfigError(msg)
    axis = histogram.axes[1]
    inside = counts(histogram).at((slice(None), slice(1, -1)))
    below = inside.at(scales.index(reference))
    return {
        scale: _spectrum(inside.at(place), below, axis, scale=scale, reference=reference)
        for place, scale in enumerate(scales)
    }


def _spectrum(part: Counts, below: Counts, axis: Any, *, scale: str, reference: str) -> Spectrum:
    widths = np.diff(edges(axis))
    ratio = divide(part.values, below.values)
    relative = divide(part.variances, part.values**2) + divide(below.variances, below.values**2)
    return Spectrum(
        quantity=axis.name,
        scale=scale,
        reference=reference,
        edges=edges(axis),
        centres=centres(axis),
        density=part.values / widths,
        density_error=np.sqrt(part.variances) / widths,
        ratio=ratio,
        ratio_error=np.abs(ratio) * np.sqrt(relative),
    )


def _slices(
    histogram: Hist[Any], probabilities: tuple[float, ...], minimum_entries: float
) -> Iterator[tuple[str, list[Quantiles]]]:
    """Yield each scale with the quantiles of the response in each bin of the variable."""
    everything = counts(histogram)
    response_edges = edges(histogram.axes[2])
    for place, scale in enumerate(histogram.axes[0]):
        yield (
            str(scale),
            [
                quantiles(
                    everything.at((place, bin_ + 1)),
                    response_edges,
                    probabilities,
                    minimum_entries=minimum_entries,
                )
                for bin_ in range(histogram.axes[1].size)
            ],
        )


def _relative_width(found: Quantiles) -> tuple[float, float]:
    """Return the relative half-width between the outer two of three quantiles, and its error."""
    low, middle, high = found.values
    gradient = np.array([-1.0, -(high - low) / middle, 1.0]) / (2.0 * middle)
    variance = gradient @ found.covariance @ gradient
    return float((high - low) / (2.0 * middle)), float(np.sqrt(variance))
