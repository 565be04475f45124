"""Figures of merit with their uncertainties, from histograms; nothing is drawn here.

A bin without entries gives NaN, never a warning. Weights may be negative: where the sum of weights
of a sample is not positive its results are NaN, and cumulative sums are made monotone before they
are inverted. The number of entries is the effective one: the squared sum of weights over the sum of
squared weights.
"""

from __future__ import annotations

from hepcalib.metrics.agreement import Agreement, agreement, rank_correlation
from hepcalib.metrics.calibration import (
    Linearity,
    Resolution,
    Spectrum,
    linearity,
    resolution,
    spectra,
)
from hepcalib.metrics.closure import Closure, Shift, closure, closures, paired_shift, shift
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
from hepcalib.metrics.densities import DensityBin, Pit, densities, pits
from hepcalib.metrics.profiles import (
    CoverageProfile,
    InputDistribution,
    Profile,
    coverage_profile,
    input_distribution,
    profile,
)
from hepcalib.metrics.regions import FeatureSplit, Region, feature_splits, large_uncertainty_region
from hepcalib.metrics.reweighting import SPECTRA, spectrum_factors, spectrum_weights
from hepcalib.metrics.scans import Plateau, PowerLaw, Scan, plateau, power_law, scan
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
    "SPECTRA",
    "Agreement",
    "Closure",
    "Counts",
    "Coverage",
    "CoverageProfile",
    "Decorrelation",
    "DensityBin",
    "EfficiencyProfile",
    "FeatureSplit",
    "InputDistribution",
    "Jsd",
    "Linearity",
    "MassSplit",
    "Pit",
    "Plateau",
    "PowerLaw",
    "Profile",
    "Pull",
    "Quantiles",
    "Region",
    "Rejection",
    "Resolution",
    "Roc",
    "Scan",
    "ScoreDistribution",
    "Shift",
    "Spectrum",
    "UncertaintySpectrum",
    "agreement",
    "closure",
    "closures",
    "coverage",
    "coverage_profile",
    "decorrelation",
    "densities",
    "efficiency_profile",
    "feature_splits",
    "input_distribution",
    "jsd",
    "jsd_limit",
    "large_uncertainty_region",
    "linearity",
    "mass_split",
    "paired_shift",
    "pits",
    "plateau",
    "power_law",
    "profile",
    "pulls",
    "quantiles",
    "rank_correlation",
    "rejection",
    "rejection_at",
    "resolution",
    "roc",
    "roc_curve",
    "scan",
    "score_distribution",
    "shift",
    "spectra",
    "spectrum_factors",
    "spectrum_weights",
    "uncertainty_spectrum",
]
