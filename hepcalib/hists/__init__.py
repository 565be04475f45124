"""The histograms of each study: fixed named axes, sums of weights and of their squares."""

from __future__ import annotations

from hepcalib.hists.axes import FLAVOURS, KINDS, LABELS, VARIABLES, Variable, flavour_bins
from hepcalib.hists.closure import closure, fill_closure, fill_sampled_spectrum, sampled_spectra
from hepcalib.hists.density import (
    density,
    fill_density,
    fill_predicted_density,
    interval_probabilities,
)
from hepcalib.hists.features import (
    FEATURES,
    feature_axis,
    feature_input,
    feature_response,
    feature_uncertainty,
    fill_feature_input,
    fill_feature_response,
    fill_feature_uncertainty,
)
from hepcalib.hists.response import fill_response, fill_spectrum, response, spectrum
from hepcalib.hists.storage import from_json, projections, to_json
from hepcalib.hists.study import (
    coverage,
    fill_coverage,
    fill_measured_response,
    fill_pit,
    fill_uncertainty_pair,
    measured_response,
    pit,
    uncertainty_pair,
)
from hepcalib.hists.tagging import fill_score, score
from hepcalib.hists.uncertainty import (
    fill_pull,
    fill_uncertainty,
    fill_uncertainty_rapidity,
    pull,
    uncertainty,
    uncertainty_rapidity,
)

__all__ = [
    "FEATURES",
    "FLAVOURS",
    "KINDS",
    "LABELS",
    "VARIABLES",
    "Variable",
    "closure",
    "coverage",
    "density",
    "feature_axis",
    "feature_input",
    "feature_response",
    "feature_uncertainty",
    "fill_closure",
    "fill_coverage",
    "fill_density",
    "fill_feature_input",
    "fill_feature_response",
    "fill_feature_uncertainty",
    "fill_measured_response",
    "fill_pit",
    "fill_predicted_density",
    "fill_pull",
    "fill_response",
    "fill_sampled_spectrum",
    "fill_score",
    "fill_spectrum",
    "fill_uncertainty",
    "fill_uncertainty_pair",
    "fill_uncertainty_rapidity",
    "flavour_bins",
    "from_json",
    "interval_probabilities",
    "measured_response",
    "pit",
    "projections",
    "pull",
    "response",
    "sampled_spectra",
    "score",
    "spectrum",
    "to_json",
    "uncertainty",
    "uncertainty_pair",
    "uncertainty_rapidity",
]
