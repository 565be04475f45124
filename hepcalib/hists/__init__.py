"""The histograms of each study: fixed named axes, sums of weights and of their squares."""

from __future__ import annotations

from hepcalib.hists.axes import (
    FLAVOURS,
    KINDS,
    LABELS,
    VARIABLES,
    Variable,
    flavour_bins,
    variable_axis,
)
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
from hepcalib.hists.ranks import Ranks, learn_ranks
from hepcalib.hists.response import fill_response, fill_spectrum, response, spectrum
from hepcalib.hists.rows import ScoreRows, counted_scores, counted_sculpting, score_rows
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
from hepcalib.hists.tagger_cost import fill_tagger_cost, tagger_cost
from hepcalib.hists.tagging import fill_score, fill_sculpting, score, sculpting
from hepcalib.hists.uncertain_tagging import (
    CHANGES,
    fill_logit_width,
    fill_score_change,
    fill_score_spread,
    fill_width_ratio,
    logit_width,
    score_change,
    score_spread,
    width_ratio,
)
from hepcalib.hists.uncertainty import (
    fill_pull,
    fill_uncertainty,
    fill_uncertainty_rapidity,
    pull,
    uncertainty,
    uncertainty_rapidity,
)

__all__ = [
    "CHANGES",
    "FEATURES",
    "FLAVOURS",
    "KINDS",
    "LABELS",
    "VARIABLES",
    "Ranks",
    "ScoreRows",
    "Variable",
    "closure",
    "counted_scores",
    "counted_sculpting",
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
    "fill_logit_width",
    "fill_measured_response",
    "fill_pit",
    "fill_predicted_density",
    "fill_pull",
    "fill_response",
    "fill_sampled_spectrum",
    "fill_score",
    "fill_score_change",
    "fill_score_spread",
    "fill_sculpting",
    "fill_spectrum",
    "fill_tagger_cost",
    "fill_uncertainty",
    "fill_uncertainty_pair",
    "fill_uncertainty_rapidity",
    "fill_width_ratio",
    "flavour_bins",
    "from_json",
    "interval_probabilities",
    "learn_ranks",
    "logit_width",
    "measured_response",
    "pit",
    "projections",
    "pull",
    "response",
    "sampled_spectra",
    "score",
    "score_change",
    "score_rows",
    "score_spread",
    "sculpting",
    "spectrum",
    "tagger_cost",
    "to_json",
    "uncertainty",
    "uncertainty_pair",
    "uncertainty_rapidity",
    "variable_axis",
    "width_ratio",
]
