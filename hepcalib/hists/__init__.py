"""The histograms of each study: fixed named axes, sums of weights and of their squares."""

from __future__ import annotations

from hepcalib.hists.axes import KINDS, LABELS, VARIABLES, Variable
from hepcalib.hists.response import fill_response, fill_spectrum, response, spectrum
from hepcalib.hists.storage import from_json, projections, to_json
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
    "KINDS",
    "LABELS",
    "VARIABLES",
    "Variable",
    "fill_pull",
    "fill_response",
    "fill_score",
    "fill_spectrum",
    "fill_uncertainty",
    "fill_uncertainty_rapidity",
    "from_json",
    "projections",
    "pull",
    "response",
    "score",
    "spectrum",
    "to_json",
    "uncertainty",
    "uncertainty_rapidity",
]
