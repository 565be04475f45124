"""One quantity against another: their joint distribution, medians and fractions in bins."""

from __future__ import annotations

from statistics import NormalDist
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hepcalib.exceptions import ShapeError
from hepcalib.metrics.counts import Counts, Floats, centres, counts, divide, edges, quantiles
from hepcalib.metrics.cuts import efficiency_and_error

if TYPE_CHECKING:
    from hist import Hist

__all__ = [
    "CoverageProfile",
    "InputDistribution",
    "Profile",
    "coverage_profile",
    "input_distribution",
    "profile",
]

_ONE_SIGMA = NormalDist().cdf(-1.0)


class Profile(NamedTuple):
    """Joint distribution of two quantities, and the median of y in bins of x."""

    variable: str
    label: str  # of x
    spacing: str  # of x, "log" or "linear"
    quantity: str  # label of y
    quantity_spacing: str  # of y, "log" or "linear"
    edges: Floats
    centres: Floats
    quantity_edges: Floats
    values: Floats  # weighted entries (bins of x, bins of y)
    median: Floats
    median_error: Floats
    low: Floats  # quantile at minus one standard deviation of a normal
    high: Floats  # quantile at plus one
    entries: Floats


class CoverageProfile(NamedTuple):
    """Fraction of the truths inside the predicted interval, in bins of a variable."""

    method: str
    variable: str
    level: float  # nominal
    edges: Floats
    centres: Floats
    fraction: Floats
    fraction_error: Floats
    entries: Floats
    overall: float  # in all bins, flow included
    overall_error: float

    @property
    def worst(self) -> float:
        """Largest deviation from the nominal level in a bin, NaN if no bin has entries."""
        deviation = np.abs(self.fraction - self.level)
        return float(np.nanmax(deviation)) if np.isfinite(deviation).any() else np.nan


class InputDistribution(NamedTuple):
    """Distribution of a feature before and after its transforms, as fractions per bin."""

    feature: str
    label: str
    spacing: str  # of the feature, "log" or "linear"
    edges: Floats
    fraction: Floats
    fraction_error: Floats
    transformed_edges: Floats
    transformed_fraction: Floats
    transformed_fraction_error: Floats
    transformed_mean: float  # of the bin centres inside the range
    transformed_width: float  # standard deviation, likewise
    outside: float  # share of the transformed values beyond the range of the axis


def profile(histogram: Hist[Any], *, minimum_entries: float = 10.0) -> Profile:
    """Median and central 68 % of y in bins of x, beside the joint distribution.

    Args:
        histogram: Two axes x, y: what `hists.feature_response`, `hists.feature_uncertainty` or
            `hists.measured_response` returned, filled.
        minimum_entries: Bins with fewer effective entries give NaN.

    Returns:
        Arrays (bins,) and (bins, bins of y). A quantile in a flow bin of y is NaN.

    Raises:
        ShapeError: if the histogram has not two axes.
    """
    if len(histogram.axes) != 2:
        msg = f"a profile needs two axes, got {[axis.name for axis in histogram.axes]}."
        raise ShapeError(msg)
    x, y = histogram.axes
    everything = counts(histogram)
    probabilities = (_ONE_SIGMA, 0.5, 1.0 - _ONE_SIGMA)
    found = [
        quantiles(
            everything.at(place + 1), edges(y), probabilities, minimum_entries=minimum_entries
        )
        for place in range(x.size)
    ]
    low, median, high = np.stack([bin_.values for bin_ in found], axis=1)
    return Profile(
        variable=x.name,
        label=x.label,
        spacing="log" if x.metadata == "log" else "linear",
        quantity=y.label,
        quantity_spacing="log" if y.metadata == "log" else "linear",
        edges=edges(x),
        centres=centres(x),
        quantity_edges=edges(y),
        values=everything.values[1:-1, 1:-1],
        median=median,
        median_error=np.array([bin_.errors[1] for bin_ in found]),
        low=low,
        high=high,
        entries=np.array([bin_.entries for bin_ in found]),
    )


def coverage_profile(
    histogram: Hist[Any], *, level: float = 0.6827, minimum_entries: float = 10.0
) -> dict[str, CoverageProfile]:
    """Fraction of the truths inside the intervals of each method, in bins of the variable.

    Args:
        histogram: What `hists.coverage` returned, filled.
        level: Nominal coverage of the intervals.
        minimum_entries: Bins with fewer effective entries give NaN.

    Returns:
        Method -> fraction with its binomial error (bins,).
    """
    everything, axis = counts(histogram), histogram.axes[2]
    inside = [str(truth) for truth in histogram.axes[1]].index("inside")
    results = {}
    for place, method in enumerate(str(name) for name in histogram.axes[0]):
        covered, total = everything.at((place, inside)), everything.at(place).sum(0)
        entries = divide(np.clip(total.values, 0.0, None) ** 2, total.variances)
        enough = entries[1:-1] >= max(minimum_entries, 1e-9)
        fraction, error = efficiency_and_error(covered, total)
        overall, overall_error = efficiency_and_error(
            *(
                Counts(part.values.sum(keepdims=True), part.variances.sum(keepdims=True))
                for part in (covered, total)
            )
        )
        results[method] = CoverageProfile(
            method=method,
            variable=axis.name,
            level=level,
            edges=edges(axis),
            centres=centres(axis),
            fraction=np.where(enough, fraction[1:-1], np.nan),
            fraction_error=np.where(enough, error[1:-1], np.nan),
            entries=np.nan_to_num(entries[1:-1]),
            overall=float(overall[0]),
            overall_error=float(overall_error[0]),
        )
    return results


def input_distribution(histogram: Hist[Any]) -> InputDistribution:
    """Distribution of a feature as it is and as a model sees it.

    Args:
        histogram: What `hists.feature_input` returned, filled.
    """
    everything = counts(histogram)
    total = everything.values.sum()
    total = total if total > 0.0 else np.nan
    raw, seen = everything.sum(1), everything.sum(0)
    x, z = histogram.axes
    inside = divide(seen.values[1:-1], seen.values[1:-1].sum())
    mean = float(inside @ centres(z))
    return InputDistribution(
        feature=x.name,
        label=x.label,
        spacing="log" if x.metadata == "log" else "linear",
        edges=edges(x),
        fraction=divide(raw.values[1:-1], total),
        fraction_error=divide(np.sqrt(raw.variances[1:-1]), total),
        transformed_edges=edges(z),
        transformed_fraction=divide(seen.values[1:-1], total),
        transformed_fraction_error=divide(np.sqrt(seen.variances[1:-1]), total),
        transformed_mean=mean,
        transformed_width=float(np.sqrt(np.clip(inside @ (centres(z) - mean) ** 2, 0.0, None))),
        outside=float(divide(seen.values[[0, -1]].sum(), total)),
    )
