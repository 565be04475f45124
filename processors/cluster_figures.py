"""Figures of merit and figures of the study of topo-clusters, from its histograms alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hepcalib import hists, metrics, plots
from hepcalib.processors.responses import response_study
from hepcalib.processors.uncertainties import COVERED, key_of
from hepcalib.study import Study

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hist import Hist
    from matplotlib.figure import Figure

    Histograms = Mapping[str, Hist[Any]]
    Found = tuple[dict[str, Any], dict[str, Figure]]

__all__ = ["cluster_study"]

SCANS = {"training_size": "Training clusters", "prior_precision": r"Precision of the prior $\tau$"}


def cluster_study(histograms: Histograms) -> Study:
    """Return all figures of merit of the study of topo-clusters, with their figures.

    Args:
        histograms: Those of `ClusterStudy`, filled.
    """
    variables = [
        name.removeprefix("response_") for name in histograms if name.startswith("response_")
    ]
    found, figures = response_study(histograms, variables)
    for part in (_spectra, _inputs, _uncertainties, _region, _agreement, _scans):
        more, drawn = part(histograms)
        found |= more
        figures |= drawn
    return Study(found, figures, _summary(found))


def _spectra(histograms: Histograms) -> Found:
    """Return spectra, measured response and predicted density."""
    spectra = metrics.spectra(histograms["spectrum"], reference="True")
    spectra = {scale: s for scale, s in spectra.items() if np.any(s.density > 0)}
    densities = metrics.densities(histograms["density"])
    pits = {name: p for name, p in metrics.pits(histograms["pit"]).items() if p.entries > 0}
    figures = {
        "spectrum": plots.spectrum_figure(spectra),
        "measured_response": plots.profile_figure(
            metrics.profile(histograms["measured_response"]), reference=1.0
        ),
        "density": plots.density_figure(densities),
        "pit": plots.pit_figure(pits),
    }
    return {"pit": pits, "density": densities}, figures


def _inputs(histograms: Histograms) -> Found:
    """Return the inputs, how well the response is predicted, and its uncertainty against each."""
    method = next(str(name) for name in histograms["pit"].axes["method"])
    power = _profiles(histograms, "power_")
    sigma = _profiles(histograms, "sigma_")
    inputs = {
        feature: metrics.input_distribution(histograms[f"input_{feature}"])
        for feature in hists.FEATURES
        if f"input_{feature}" in histograms
    }
    figures = {
        "predicted_response": plots.profiles_figure(power, reference=1.0, method=method),
        "inputs": plots.feature_input_figure(inputs),
        "uncertainty_features": plots.profiles_figure(sigma, method=method),
    }
    return {}, figures


def _uncertainties(histograms: Histograms) -> Found:
    """Return pulls, spectrum and coverage of the uncertainties of every method."""
    pulls = {name: metrics.pulls(h) for name, h in _of_methods(histograms, "pull_").items()}
    spectra = {
        name: metrics.uncertainty_spectrum(h)
        for name, h in _of_methods(histograms, "uncertainty_").items()
    }
    found: dict[str, Any] = {"pulls": pulls, "uncertainty": spectra}
    figures = {
        "pulls": plots.pull_comparison_figure(pulls),
        "uncertainty": plots.uncertainty_comparison_figure(spectra),
    }
    for variable in COVERED:
        profile = metrics.coverage_profile(histograms[f"coverage_{variable}"])
        profile = {name: profile[name] for name in pulls}
        found[f"coverage_{variable}"] = profile
        figures[f"coverage_{variable}"] = plots.coverage_figure(profile)
    return found, figures


def _region(histograms: Histograms) -> Found:
    """Return the region of the features that the clusters of large uncertainty occupy."""
    first = next(iter(_of_methods(histograms, "uncertainty_").values()), None)
    if first is None:
        return {}, {}
    valley = metrics.uncertainty_spectrum(first)["total"].valley
    against = {
        name.removeprefix("sigma_"): histogram
        for name, histogram in histograms.items()
        if name.startswith("sigma_") and name.removeprefix("sigma_") in hists.FEATURES
    }
    region = metrics.large_uncertainty_region(against, valley)
    figures = {}
    if valley is not None:
        splits = metrics.feature_splits(against, valley)
        figures["large_uncertainty"] = plots.feature_split_figure(splits, region=region)
    return {"large_uncertainty_region": region}, figures


def _agreement(histograms: Histograms) -> Found:
    """Return how two methods agree, cluster by cluster."""
    if "agreement" not in histograms:
        return {}, {}
    found = metrics.agreement(histograms["agreement"])
    return {"agreement": found}, {"agreement": plots.agreement_figure(found)}


def _scans(histograms: Histograms) -> Found:
    """Return the uncertainty against the size of the training sample and the prior."""
    found: dict[str, Any] = {}
    figures: dict[str, Figure] = {}
    for name, parameter in SCANS.items():
        series = {
            float(key.removeprefix(f"{name}_")): histogram
            for key, histogram in histograms.items()
            if key.startswith(f"{name}_")
        }
        if series:
            scan = metrics.scan(series, parameter=parameter, fit=name == "training_size")
            found[name] = scan
            figures[name] = plots.scan_figure({"BNN": scan})
    return found, figures


def _profiles(histograms: Histograms, prefix: str) -> dict[str, Any]:
    return {
        name.removeprefix(prefix): metrics.profile(histogram)
        for name, histogram in histograms.items()
        if name.startswith(prefix)
    }


def _of_methods(histograms: Histograms, prefix: str) -> dict[str, Hist[Any]]:
    """Return the histograms of the methods that predict an uncertainty, in the order given."""
    methods = [str(name) for name in histograms["pit"].axes["method"]]
    return {
        name: histograms[f"{prefix}{key_of(name)}"]
        for name in methods
        if np.any(histograms[f"pull_{key_of(name)}"].values(flow=True) > 0)
    }


def _summary(found: Mapping[str, Any]) -> dict[str, str]:
    lines = {
        f"mean relative resolution over mu, {scale}": f"{np.nanmean(r.resolution):.3f}"
        for scale, r in found["resolution_mu"].items()
    }
    for name, kinds in found["pulls"].items():
        total, covered = kinds["pull"], found["coverage_mu"][name]
        lines[f"pulls and coverage, {name}"] = (
            f"width {total.width:.3f} +- {total.width_error:.3f}, 68.3 % interval "
            f"{100 * covered.overall:.1f} +- {100 * covered.overall_error:.1f} %"
        )
    region = found.get("large_uncertainty_region")
    lines["clusters of large uncertainty"] = "no region found"
    if region is not None:
        lines["clusters of large uncertainty"] = (
            f"{100 * region.share_above_inside:.1f} % of them in {region.text}, with "
            f"{100 * region.share_below_inside:.1f} % of the others"
        )
    agreement = found.get("agreement", {})
    for kind, pair in ((k, p) for k, p in agreement.items() if p.entries > 0):
        lines[f"{pair.first} beside {pair.second}, {kind}"] = (
            f"ratio of the medians {pair.median_ratio:.3f}, rank correlation "
            f"{pair.rank_correlation:.3f}"
        )
    if "training_size" in found and found["training_size"].statistical_slope is not None:
        slope = found["training_size"].statistical_slope
        lines["slope of the statistical uncertainty with the training size"] = (
            f"{slope.slope:.3f} +- {slope.slope_error:.3f}"
        )
    return lines
