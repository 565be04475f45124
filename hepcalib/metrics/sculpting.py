"""Divergence and flatness of the background mass for every cut, and what chance alone gives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hepcalib.metrics.counts import Counts, Floats, centres, divide, edges
from hepcalib.metrics.cuts import cut_at, labelled, passing
from hepcalib.metrics.decorrelation import in_bins
from hepcalib.metrics.divergence import Convention, jsd, jsd_band
from hepcalib.metrics.flatness import Flatness, flatness

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hist import Hist

__all__ = ["LimitCurve", "SculptingCurve", "efficiency_flatness", "limit_curve", "sculpting_curves"]

EFFICIENCIES = tuple(float(e) for e in np.round(np.geomspace(0.005, 0.9, 25), 5))
"""Background efficiencies of the cuts, unless others are asked for."""


class SculptingCurve(NamedTuple):
    """Divergence of the background mass at cuts of several background efficiencies; (cuts,)."""

    tagger: str
    background_efficiency: Floats
    signal_efficiency: Floats
    jsd: Floats
    jsd_error: Floats
    limit: Floats


class LimitCurve(NamedTuple):
    """Divergences if score and mass were independent, at cuts of background efficiencies; (cuts,).

    The mean and the central 68 % of replicas.
    """

    background_efficiency: Floats
    jsd: Floats
    jsd_low: Floats
    jsd_high: Floats


def sculpting_curves(
    histogram: Hist[Any],
    *,
    background_efficiencies: Sequence[float] = EFFICIENCIES,
    convention: Convention = Convention(),  # noqa: B008 - immutable
) -> dict[str, SculptingCurve]:
    """Divergence of each tagger at cuts of several background efficiencies.

    Args:
        histogram: What `hists.score("mass", ...)` returned, filled.
        background_efficiencies: Efficiencies of the cuts for all background, in (0, 1) (cuts,).
        convention: Definition of the divergence.

    Raises:
        ConfigError: if the bins of the convention are not sums of those of the histogram.
    """
    found = {}
    for tagger, signal, background in labelled(histogram):
        binned = in_bins(background, edges(histogram.axes[3]), convention)
        rows = []
        for efficiency in background_efficiencies:
            cut = cut_at(background.sum(1), efficiency)
            if cut is None:
                rows.append([np.nan] * 4)
                continue
            passed, failed = _parts(binned, passing(binned, cut))
            at = jsd(passed, failed, base=convention.base, against=convention.against)
            of_signal = divide(passing(signal.sum(1), cut).values, signal.total)
            rows.append([float(of_signal), at.jsd, at.jsd_error, at.limit])
        columns = np.array(rows, dtype=np.float64).reshape(-1, 4).T
        found[tagger] = SculptingCurve(tagger, np.array(background_efficiencies), *columns)
    return found


def limit_curve(
    histogram: Hist[Any],
    *,
    background_efficiencies: Sequence[float] = EFFICIENCIES,
    convention: Convention = Convention(),  # noqa: B008 - immutable
    replicas: int = 300,
    seed: int = 0,
) -> LimitCurve:
    """Divergence that the first tagger with background would show if it did not see the mass.

    Args:
        histogram: What `hists.score("mass", ...)` returned, filled.
        background_efficiencies: Efficiencies of the cuts, in (0, 1) (cuts,).
        convention: Definition of the divergence.
        replicas: Number of replicas.
        seed: Seed of the replicas.

    Returns:
        NaN without background.

    Raises:
        ConfigError: if the bins of the convention are not sums of those of the histogram.
    """
    spectra = [
        in_bins(background, edges(histogram.axes[3]), convention).sum(0)
        for _, _, background in labelled(histogram)
    ]
    inclusive = next((one for one in spectra if one.entries > 0.0), spectra[0])
    rows = []
    for efficiency in background_efficiencies:
        passed, failed = _parts(inclusive, Counts(*(efficiency * part for part in inclusive)))
        band = jsd_band(
            passed,
            failed,
            base=convention.base,
            against=convention.against,
            replicas=replicas,
            seed=seed,
        )
        rows.append([band.mean, band.low, band.high])
    columns = np.array(rows, dtype=np.float64).reshape(-1, 3).T
    return LimitCurve(np.array(background_efficiencies), *columns)


def efficiency_flatness(
    histogram: Hist[Any],
    *,
    background_efficiencies: Sequence[float] = (0.05, 0.1, 0.2, 0.4, 0.8),
    replicas: int = 300,
    seed: int = 0,
) -> dict[str, tuple[Flatness, ...]]:
    """Largest relative deviation of the background efficiency in a bin, at several cuts.

    Args:
        histogram: What `hists.score` returned, filled; the deviation is in bins of its variable.
        background_efficiencies: Efficiencies of the cuts for all background, in (0, 1).
        replicas: Number of replicas.
        seed: Seed of the replicas.

    Returns:
        Tagger -> flatness at each cut, none without background.
    """
    found = {}
    for tagger, _, background in labelled(histogram):
        inside = background.at((slice(None), slice(1, -1)))
        cuts = [cut_at(background.sum(1), efficiency) for efficiency in background_efficiencies]
        found[tagger] = tuple(
            flatness(
                *_parts(inside, passing(inside, cut)),
                centres(histogram.axes[3]),
                replicas=replicas,
                seed=seed,
            )
            for cut in cuts
            if cut is not None
        )
    return found


def _parts(background: Counts, passed: Counts) -> tuple[Counts, Counts]:
    """Return what passes and what fails, (bins,) each."""
    everything = background.sum(0) if background.values.ndim > 1 else background
    return passed, Counts(
        everything.values - passed.values, everything.variances - passed.variances
    )
