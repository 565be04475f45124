"""Figures of merit with their uncertainties, from histograms; nothing is drawn here.

A bin without entries gives NaN, never a warning. Weights may be negative: where the sum of weights
of a sample is not positive its results are NaN, and cumulative sums are made monotone before they
are inverted. The number of entries is the effective one: the squared sum of weights over the sum of
squared weights.
"""

from __future__ import annotations

from hepcalib.metrics.agreement import Agreement, agreement, rank_correlation
from hepcalib.metrics.binned_correlation import DistanceCorrelation, binned_distance_correlation
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
    MassSplit,
    decorrelation,
    mass_split,
)
from hepcalib.metrics.decorrelation_merits import (
    DecorrelationMerit,
    DecorrelationProfile,
    decorrelation_merits,
    decorrelation_profiles,
)
from hepcalib.metrics.densities import DensityBin, Pit, densities, pits
from hepcalib.metrics.divergence import Convention, Jsd, JsdBand, jsd, jsd_band, jsd_limit
from hepcalib.metrics.flatness import Flatness, flatness
from hepcalib.metrics.methods import Method, SeedSpread, methods, seed_spreads, training_name
from hepcalib.metrics.profiles import (
    CoverageProfile,
    InputDistribution,
    Profile,
    coverage_profile,
    input_distribution,
    profile,
)
from hepcalib.metrics.regions import FeatureSplit, Region, feature_splits, large_uncertainty_region
from hepcalib.metrics.reliability import Reliability, reliability, reliability_curve
from hepcalib.metrics.reweighting import SPECTRA, spectrum_factors, spectrum_weights
from hepcalib.metrics.scans import Plateau, PowerLaw, Scan, plateau, power_law, scan
from hepcalib.metrics.sculpting import (
    LimitCurve,
    SculptingCurve,
    efficiency_flatness,
    limit_curve,
    sculpting_curves,
)
from hepcalib.metrics.tagger_comparison import (
    TaggerCost,
    TaggerMerit,
    tagger_costs,
    tagger_merits,
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
from hepcalib.metrics.uncertain_tagging import (
    ScoreChange,
    ScoreSpread,
    WidthRatio,
    WidthSpectrum,
    linear_spread,
    probit_mean,
    score_changes,
    score_spreads,
    width_ratios,
    width_spectra,
)
from hepcalib.metrics.uncertainty import (
    Pull,
    PullFractions,
    UncertaintySpectrum,
    pull_fractions,
    pulls,
    uncertainty_spectrum,
)

__all__ = [
    "SPECTRA",
    "Agreement",
    "Closure",
    "Convention",
    "Counts",
    "CoverageProfile",
    "Decorrelation",
    "DecorrelationMerit",
    "DecorrelationProfile",
    "DensityBin",
    "DistanceCorrelation",
    "EfficiencyProfile",
    "FeatureSplit",
    "Flatness",
    "InputDistribution",
    "Jsd",
    "JsdBand",
    "LimitCurve",
    "Linearity",
    "MassSplit",
    "Method",
    "Pit",
    "Plateau",
    "PowerLaw",
    "Profile",
    "Pull",
    "PullFractions",
    "Quantiles",
    "Region",
    "Rejection",
    "Reliability",
    "Resolution",
    "Roc",
    "Scan",
    "ScoreChange",
    "ScoreDistribution",
    "ScoreSpread",
    "SculptingCurve",
    "SeedSpread",
    "Shift",
    "Spectrum",
    "TaggerCost",
    "TaggerMerit",
    "UncertaintySpectrum",
    "WidthRatio",
    "WidthSpectrum",
    "agreement",
    "binned_distance_correlation",
    "closure",
    "closures",
    "coverage_profile",
    "decorrelation",
    "decorrelation_merits",
    "decorrelation_profiles",
    "densities",
    "efficiency_flatness",
    "efficiency_profile",
    "feature_splits",
    "flatness",
    "input_distribution",
    "jsd",
    "jsd_band",
    "jsd_limit",
    "large_uncertainty_region",
    "limit_curve",
    "linear_spread",
    "linearity",
    "mass_split",
    "methods",
    "paired_shift",
    "pits",
    "plateau",
    "power_law",
    "probit_mean",
    "profile",
    "pull_fractions",
    "pulls",
    "quantiles",
    "rank_correlation",
    "rejection",
    "rejection_at",
    "reliability",
    "reliability_curve",
    "resolution",
    "roc",
    "roc_curve",
    "scan",
    "score_changes",
    "score_distribution",
    "score_spreads",
    "sculpting_curves",
    "seed_spreads",
    "shift",
    "spectra",
    "spectrum_factors",
    "spectrum_weights",
    "tagger_costs",
    "tagger_merits",
    "training_name",
    "uncertainty_spectrum",
    "width_ratios",
    "width_spectra",
]
