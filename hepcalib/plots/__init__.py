"""Results in, figures out: nothing is computed here, and no figure changes matplotlib's state."""

from __future__ import annotations

from hepcalib.plots.calibration import linearity_figure, resolution_figure, spectrum_figure
from hepcalib.plots.closure import closure_figure
from hepcalib.plots.decorrelation import decorrelation_figure, mass_sculpting_figure
from hepcalib.plots.decorrelation_paths import decorrelation_paths_figure, sculpting_curve_figure
from hepcalib.plots.decorrelation_profiles import (
    decorrelation_profile_figure,
    efficiency_comparison_figure,
)
from hepcalib.plots.density import density_figure, pit_figure
from hepcalib.plots.features import feature_input_figure, feature_split_figure
from hepcalib.plots.interpretation import (
    attention_figure,
    filters_figure,
    importance_figure,
    neighbours_figure,
)
from hepcalib.plots.methods import (
    coverage_figure,
    pull_comparison_figure,
    uncertainty_comparison_figure,
)
from hepcalib.plots.profiles import agreement_figure, profile_figure, profiles_figure
from hepcalib.plots.scans import scan_figure
from hepcalib.plots.style import save, style
from hepcalib.plots.tagger_comparison import tagger_comparison_figure
from hepcalib.plots.tagging import efficiency_figure, roc_figure, score_figure
from hepcalib.plots.training import history_figure
from hepcalib.plots.uncertain_tagging import (
    logit_width_figure,
    reliability_figure,
    score_change_figure,
    score_spread_figure,
    width_ratio_figure,
)
from hepcalib.plots.uncertainty import pull_figure, uncertainty_figure, uncertainty_rapidity_figure

__all__ = [
    "agreement_figure",
    "attention_figure",
    "closure_figure",
    "coverage_figure",
    "decorrelation_figure",
    "decorrelation_paths_figure",
    "decorrelation_profile_figure",
    "density_figure",
    "efficiency_comparison_figure",
    "efficiency_figure",
    "feature_input_figure",
    "feature_split_figure",
    "filters_figure",
    "history_figure",
    "importance_figure",
    "linearity_figure",
    "logit_width_figure",
    "mass_sculpting_figure",
    "neighbours_figure",
    "pit_figure",
    "profile_figure",
    "profiles_figure",
    "pull_comparison_figure",
    "pull_figure",
    "reliability_figure",
    "resolution_figure",
    "roc_figure",
    "save",
    "scan_figure",
    "score_change_figure",
    "score_figure",
    "score_spread_figure",
    "sculpting_curve_figure",
    "spectrum_figure",
    "style",
    "tagger_comparison_figure",
    "uncertainty_comparison_figure",
    "uncertainty_figure",
    "uncertainty_rapidity_figure",
    "width_ratio_figure",
]
