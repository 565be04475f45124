"""Figures of merit with their uncertainties, from histograms; nothing is drawn here.

A bin without entries gives NaN, never a warning. Weights may be negative: where the sum of weights
of a sample is not positive its results are NaN, and cumulative sums are made monotone before they
are inverted. The number of entries is the effective one: the squared sum of weights over the sum of
squared weights.
"""

from __future__ import annotations

from hepcalib.metrics.calibration import (
    Linearity,
    Resolution,
    Spectrum,
    linearity,
    resolution,
    spectra,
)
from hepcalib.metrics.counts import Counts, Quantiles, quantiles
from hepcalib.metrics.decorrelation import (
    Decorrelation,
    Jsd,
    MassSplit,
    decorrelation,
    jsd,
    jsd_limit,
    mass_split,
)
from hepcalib.metrics.tagging import (
    EfficiencyProfile,
    Rejection,
    Roc,
    ScoreDistribution,
    efficiency_profile,
    rejection,
    rejection_at,
    roc,
    roc_curve,
    score_distribution,
)
from hepcalib.metrics.uncertainty import (
    Coverage,
    Pull,
    UncertaintySpectrum,
    coverage,
    pulls,
    uncertainty_spectrum,
)

__all__ = [
    "Counts",
    "Coverage",
    "Decorrelation",
    "EfficiencyProfile",
    "Jsd",
    "Linearity",
    "MassSplit",
    "Pull",
    "Quantiles",
    "Rejection",
    "Resolution",
    "Roc",
    "ScoreDistribution",
    "Spectrum",
    "UncertaintySpectrum",
    "coverage",
    "decorrelation",
    "efficiency_profile",
    "jsd",
    "jsd_limit",
    "linearity",
    "mass_split",
    "pulls",
    "quantiles",
    "rejection",
    "rejection_at",
    "resolution",
    "roc",
    "roc_curve",
    "score_distribution",
    "spectra",
    "uncertainty_spectrum",
]
