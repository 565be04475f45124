"""Results in, figures out: nothing is computed here, and no figure changes matplotlib's state."""

from __future__ import annotations

from hepcalib.plots.calibration import linearity_figure, resolution_figure, spectrum_figure
from hepcalib.plots.closure import closure_figure
from hepcalib.plots.decorrelation import decorrelation_figure, mass_sculpting_figure
from hepcalib.plots.density import density_figure, pit_figure
from hepcalib.plots.features import feature_input_figure, feature_split_figure
from hepcalib.plots.methods import (
    coverage_figure,
    pull_comparison_figure,
    uncertainty_comparison_figure,
)
from hepcalib.plots.profiles import agreement_figure, profile_figure, profiles_figure
from hepcalib.plots.scans import scan_figure
from hepcalib.plots.style import save, style
from hepcalib.plots.tagging import efficiency_figure, roc_figure, score_figure
from hepcalib.plots.training import history_figure
from hepcalib.plots.uncertainty import pull_figure, uncertainty_figure, uncertainty_rapidity_figure

__all__ = [
    "agreement_figure",
    "closure_figure",
    "coverage_figure",
    "decorrelation_figure",
    "density_figure",
    "efficiency_figure",
    "feature_input_figure",
    "feature_split_figure",
    "history_figure",
    "linearity_figure",
    "mass_sculpting_figure",
    "pit_figure",
    "profile_figure",
    "profiles_figure",
    "pull_comparison_figure",
    "pull_figure",
    "resolution_figure",
    "roc_figure",
    "save",
    "scan_figure",
    "score_figure",
    "spectrum_figure",
    "style",
    "uncertainty_comparison_figure",
    "uncertainty_figure",
    "uncertainty_rapidity_figure",
]
