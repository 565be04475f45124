"""What the calibrations of clusters and of jets share: the response of several energy scales."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hepcalib import hists, metrics, plots
from hepcalib.processors.columns import floats

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import awkward as ak
    from hist import Hist
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from hepcalib.hists.response import Measured

    Floats = NDArray[np.float64]

__all__ = ["fill_pulls", "fill_responses", "response_study", "within"]


def fill_responses(
    energies: Mapping[str, Floats],
    truth: Floats,
    variables: Mapping[str, Floats],
    *,
    scales: Sequence[str],
    weight: Floats,
    quantity: Measured,
) -> dict[str, Hist[Any]]:
    """Return the response of each scale against each variable.

    Args:
        energies: Scale -> what is measured [GeV] (rows,), NaN where there is none.
        truth: Its true value [GeV] (rows,).
        variables: Name in `hists.VARIABLES` -> values (rows,), NaN where the file has none.
        scales: All scales that the study knows, present in these rows or not.
        weight: Event weights (rows,).
        quantity: What is measured.
    """
    filled = {}
    for variable, values in variables.items():
        histogram = hists.response(variable, scales=scales, quantity=quantity)
        for scale, energy in energies.items():
            known = ~(np.isnan(energy) | np.isnan(values))
            hists.fill_response(
                histogram,
                scale=scale,
                values=values[known],
                response=energy[known] / truth[known],
                weight=weight[known],
            )
        filled[f"response_{variable}"] = histogram
    return filled


def fill_pulls(answer: ak.Array, target: Floats, *, weight: Floats) -> dict[str, Hist[Any]]:
    """Return pulls around the predictive mean, and the relative uncertainties of R.

    Args:
        answer: What `inference.predict` returned for a response model.
        target: True value of the variable that the model was trained for (rows,).
        weight: Event weights (rows,).
    """
    pull, spread = hists.pull(), hists.uncertainty()
    residual = floats(answer, "target_mean") - target
    for kind, suffix in zip(hists.KINDS, ("tot", "syst", "stat"), strict=True):
        sigma = floats(answer, f"target_sigma_{suffix}")
        known = sigma > 0  # a network without weight draws has no statistical uncertainty
        hists.fill_pull(pull, kind=kind, pull=residual[known] / sigma[known], weight=weight[known])
        relative = floats(answer, f"sigma_{suffix}") / floats(answer, "response")
        hists.fill_uncertainty(spread, kind=kind, uncertainty=relative, weight=weight)
    return {"pull": pull, "uncertainty": spread}


def response_study(
    histograms: Mapping[str, Hist[Any]], variables: Sequence[str]
) -> tuple[dict[str, Any], dict[str, Figure]]:
    """Return linearity and resolution against each variable, and their figures."""
    found: dict[str, Any] = {}
    figures: dict[str, Figure] = {}
    for variable in variables:
        histogram = histograms[f"response_{variable}"]
        linearity = _filled(metrics.linearity(histogram))
        resolution = _filled(metrics.resolution(histogram))
        found[f"linearity_{variable}"] = linearity
        found[f"resolution_{variable}"] = resolution
        figures[f"linearity_{variable}"] = plots.linearity_figure(linearity)
        figures[f"resolution_{variable}"] = plots.resolution_figure(resolution)
    return found, figures


def within(figure: Figure, low: float, high: float) -> Figure:
    """Limit y, which single bins at a threshold of the selection would else decide."""
    axes = figure.axes[0]
    bottom, top = axes.get_ylim()
    axes.set_ylim(max(bottom, low), min(top, high))
    return figure


def _filled(results: Mapping[str, Any]) -> dict[str, Any]:
    return {scale: result for scale, result in results.items() if np.any(result.entries > 0)}
