"""Results in, figures out: nothing is computed here, and no figure changes matplotlib's state."""

from __future__ import annotations

from hepcalib.plots.calibration import linearity_figure, resolution_figure, spectrum_figure
from hepcalib.plots.decorrelation import decorrelation_figure, mass_sculpting_figure
from hepcalib.plots.style import save, style
from hepcalib.plots.tagging import efficiency_figure, roc_figure, score_figure
from hepcalib.plots.training import history_figure
from hepcalib.plots.uncertainty import (
    pull_figure,
    uncertainty_figure,
    uncertainty_rapidity_figure,
)

__all__ = [
    "decorrelation_figure",
    "efficiency_figure",
    "history_figure",
    "linearity_figure",
    "mass_sculpting_figure",
    "pull_figure",
    "resolution_figure",
    "roc_figure",
    "save",
    "score_figure",
    "spectrum_figure",
    "style",
    "uncertainty_figure",
    "uncertainty_rapidity_figure",
]
