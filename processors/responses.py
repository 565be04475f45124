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

__all__ = [
    "coverage_study",
    "covered",
    "fill_coverage",
    "fill_coverages",
    "fill_pulls",
    "fill_responses",
    "response_study",
    "within",
]


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
    """Return residuals over uncertainties, and the relative uncertainties of R.

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


def fill_coverage(
    variable: str,
    values: Mapping[str, Floats],
    *,
    response: Floats,
    answers: Mapping[str, ak.Array],
    weight: Floats,
) -> Hist[Any]:
    """Return whether the true response is in the interval of each method, against a variable.

    Args:
        variable: One of `hists.VARIABLES`.
        values: Method -> the variable (rows,), NaN where the file has none.
        response: Measured over true value (rows,).
        answers: Method -> what `inference.predict` returned.
        weight: Event weights (rows,).
    """
    histogram = hists.coverage(variable, methods=tuple(answers))
    for method, answer in answers.items():
        known = ~np.isnan(values[method])
        low, high = floats(answer, "interval_low"), floats(answer, "interval_high")
        inside = (response >= low) & (response <= high)
        hists.fill_coverage(
            histogram,
            method=method,
            values=values[method][known],
            inside=inside[known],
            weight=weight[known],
        )
    return histogram


def fill_coverages(
    variables: Mapping[str, Floats], *, response: Floats, answer: ak.Array, weight: Floats
) -> dict[str, Hist[Any]]:
    """Return the coverage of the calibration's interval against each variable."""
    return {
        f"coverage_{name}": fill_coverage(
            name,
            {"Calibrated": values},
            response=response,
            answers={"Calibrated": answer},
            weight=weight,
        )
        for name, values in variables.items()
    }


def coverage_study(
    histograms: Mapping[str, Hist[Any]], variables: Sequence[str]
) -> tuple[dict[str, Any], dict[str, Figure]]:
    """Return the coverage of the interval against each variable, and its figures."""
    found: dict[str, Any] = {}
    figures: dict[str, Figure] = {}
    for variable in variables:
        profile = metrics.coverage_profile(histograms[f"coverage_{variable}"])
        found[f"coverage_{variable}"] = profile
        figures[f"coverage_{variable}"] = plots.coverage_figure(profile)
    return found, figures


def covered(found: Mapping[str, Any], variable: str) -> str:
    """Return the coverage of all objects in words."""
    (profile,) = found[f"coverage_{variable}"].values()
    return f"{100 * profile.overall:.1f} +- {100 * profile.overall_error:.1f} %"


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
