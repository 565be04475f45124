"""Are predicted densities right: against the data in bins of energy, and as PIT."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hepcalib.metrics.counts import Counts, Floats, centres, counts, divide, edges

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hist import Hist

__all__ = ["DensityBin", "Pit", "densities", "pits"]


class DensityBin(NamedTuple):
    """True and predicted log10 R of the clusters in one bin of energy."""

    low: float  # edges of the bin [GeV]
    high: float
    entries: float
    edges: Floats
    centres: Floats
    data: Floats  # per unit of log10 R
    data_error: Floats
    predicted: Floats
    components: Mapping[str, Floats]
    mean_shift: float  # mean of the prediction minus that of the data, in their range
    mean_shift_error: float


class Pit(NamedTuple):
    """Probability integral transform of one method; a right density gives 1 everywhere."""

    method: str
    entries: float
    edges: Floats
    centres: Floats
    density: Floats
    density_error: Floats
    mean: float  # 1/2 if uniform
    mean_error: float
    width: float  # standard deviation, 1/sqrt(12) if uniform
    width_error: float


def densities(histogram: Hist[Any], *, minimum_entries: float = 10.0) -> list[DensityBin]:
    """Density of log10 R in bins of energy, of the data and as predicted with its components.

    Args:
        histogram: What `hists.density` returned, filled.
        minimum_entries: Bins of energy with fewer effective entries of data are left out.

    Returns:
        Bins in ascending energy; densities (bins,). Both are normalised over all log10 R, those of
        the components add up to that of the prediction; NaN where nothing was predicted.
    """
    everything, axis = counts(histogram), histogram.axes[2]
    energies = edges(histogram.axes[1])
    kinds = [str(kind) for kind in histogram.axes[0]]
    found = []
    for place in range(histogram.axes[1].size):
        parts = {kind: everything.at((k, place + 1)) for k, kind in enumerate(kinds)}
        if parts["data"].entries >= max(minimum_entries, 1e-9):
            found.append(_density(parts, axis, low=energies[place], high=energies[place + 1]))
    return found


def _density(parts: Mapping[str, Counts], axis: Any, *, low: float, high: float) -> DensityBin:
    widths, data, predicted = np.diff(edges(axis)), parts["data"], parts["predicted"]
    norm = predicted.total if predicted.entries > 0.0 else np.nan
    means = []
    for part in (data, predicted):
        share = divide(part.values[1:-1], part.values[1:-1].sum())
        means.append(float(share @ centres(axis)))
        if part is data:
            spread = float(share @ (centres(axis) - means[0]) ** 2)
    return DensityBin(
        low=float(low),
        high=float(high),
        entries=data.entries,
        edges=edges(axis),
        centres=centres(axis),
        data=data.values[1:-1] / data.total / widths,
        data_error=np.sqrt(data.variances[1:-1]) / data.total / widths,
        predicted=divide(predicted.values[1:-1], norm) / widths,
        components={
            kind: divide(part.values[1:-1], norm) / widths
            for kind, part in parts.items()
            if kind not in ("data", "predicted") and part.entries > 0.0
        },
        mean_shift=means[1] - means[0],
        mean_shift_error=float(np.sqrt(max(spread, 0.0) / data.at(slice(1, -1)).entries)),
    )


def pits(histogram: Hist[Any], *, minimum_entries: float = 10.0) -> dict[str, Pit]:
    r"""Distribution, mean and width of the probability integral transform of each method.

    Mean and width are those of a density constant in each bin, so that a uniform distribution gives
    1/2 and :math:`1 / \sqrt{12}` exactly. Errors as those of pulls.

    Args:
        histogram: What `hists.pit` returned, filled.
        minimum_entries: Methods with fewer effective entries give NaN.
    """
    everything = counts(histogram)
    return {
        str(method): _pit(str(method), everything.at(place), histogram.axes[1], minimum_entries)
        for place, method in enumerate(histogram.axes[0])
    }


def _pit(method: str, part: Counts, axis: Any, minimum_entries: float) -> Pit:
    enough = part.entries >= max(minimum_entries, 1e-9)
    total, entries = (part.total, part.entries) if enough else (np.nan, np.nan)
    share, at, widths = divide(part.values, total), centres(axis), np.diff(edges(axis))
    mean = float(share @ at)
    # Moments of a density constant in a bin of width w: w^2 / 12 and w^4 / 80 beside the middle.
    square = float(share @ ((at - mean) ** 2 + widths**2 / 12.0))
    fourth = float(
        share @ ((at - mean) ** 4 + 0.5 * (at - mean) ** 2 * widths**2 + widths**4 / 80.0)
    )
    spread = divide(max(fourth - square**2, 0.0), 4.0 * entries * square)
    return Pit(
        method=method,
        entries=part.entries,
        edges=edges(axis),
        centres=at,
        density=share / widths,
        density_error=divide(np.sqrt(part.variances), total) / widths,
        mean=mean,
        mean_error=float(np.sqrt(max(square, 0.0) / entries)),
        width=float(np.sqrt(max(square, 0.0))) if enough else np.nan,
        width_error=float(np.sqrt(spread)),
    )
