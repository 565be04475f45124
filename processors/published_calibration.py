"""Calibrated energies that stand in the file, against the truth: no model is applied."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from coffea.processor import ProcessorABC

from hepcalib import metrics, ntuples, plots
from hepcalib.processors.clusters import EM, fill_spectra, is_measurable
from hepcalib.processors.columns import floats
from hepcalib.processors.responses import fill_responses, within
from hepcalib.study import Study

if TYPE_CHECKING:
    from collections.abc import Mapping

    import awkward as ak
    from hist import Hist
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

__all__ = ["PublishedCalibration"]

PUBLISHED = "Published"
VARIABLES = {"true_energy": 1j, "calibrated_energy": 1j, "rapidity": 5j}
"""The variables, and how many of their bins are taken together: such files are small."""

PARTICLES = {"charged pions": 211, "neutral pions": 111}
"""The groups of clusters that are also shown by themselves, and the particle they are from."""

UNBIASED = 2.0
"""True energy [GeV] below which the threshold of the clusters raises the response of any scale."""


class PublishedCalibration(ProcessorABC):  # type: ignore[misc]  # coffea is untyped
    """Compare the published energies of topo-clusters, and the EM scale, with the truth.

    The bins of the calibrated energy are those of the published one.
    """

    needs = ("true_energy", "energy_published")

    def process(self, events: ak.Array) -> dict[str, Hist[Any]]:
        """Return the histograms of one chunk."""
        clusters = ntuples.objects(events)
        clusters = clusters[is_measurable(clusters)]
        truth, weight = floats(clusters, "true_energy"), floats(clusters, "weight")
        energies = {EM: floats(clusters, "energy"), PUBLISHED: floats(clusters, "energy_published")}
        variables = {
            "true_energy": truth,
            "calibrated_energy": energies[PUBLISHED],
            "rapidity": floats(clusters, "rapidity"),
        }
        scales = _split(energies, floats(clusters, "pdg_id"))
        filled = fill_responses(
            scales, truth, variables, scales=tuple(scales), weight=weight, quantity="energy"
        )
        return {**filled, "spectrum": fill_spectra({"True": truth, **energies}, weight)}

    def postprocess(self, accumulator: dict[str, Hist[Any]]) -> dict[str, Hist[Any]]:
        """Return the sum as it is."""
        return accumulator

    @staticmethod
    def study(histograms: Mapping[str, Hist[Any]]) -> Study:
        """Return linearity and resolution of all clusters and of each particle, with figures."""
        found: dict[str, Any] = {}
        figures: dict[str, Figure] = {}
        for variable, bins in VARIABLES.items():
            histogram: Any = histograms[f"response_{variable}"][:, ::bins, :]
            linearity, resolution = metrics.linearity(histogram), metrics.resolution(histogram)
            for group in ("", *PARTICLES) if variable == "true_energy" else ("",):
                name = "_".join([variable, *group.split()[:1]])
                linear, width = _of(linearity, group), _of(resolution, group)
                if not linear and group:
                    continue
                label = f"Simulation, {group}" if group else "Simulation"
                found |= {f"linearity_{name}": linear, f"resolution_{name}": width}
                shown = plots.linearity_figure(linear, label=label)
                figures[f"linearity_{name}"] = within(shown, -0.5, 1.0)
                shown = plots.resolution_figure(width, label=label)
                figures[f"resolution_{name}"] = within(shown, 0.0, 0.8)
        spectrum: Any = histograms["spectrum"][:, ::3j]
        spectra = metrics.spectra(spectrum, reference="True")
        figures["spectrum"] = plots.spectrum_figure(spectra)
        return Study(found, figures, _summary(found))


def _split(
    energies: Mapping[str, NDArray[np.float64]], pdg_id: NDArray[np.float64]
) -> dict[str, NDArray[np.float64]]:
    """Add to each scale those of the particles; they have no energy for the other clusters."""
    found = dict(energies)
    for scale, energy in energies.items():
        for group, number in PARTICLES.items():
            found[f"{scale}, {group}"] = np.where(np.abs(pdg_id) == number, energy, np.nan)
    return found


def _of(results: Mapping[str, Any], group: str) -> dict[str, Any]:
    """Return the results of a group by the names of the scales, those without entries left out."""
    names = {scale: f"{scale}, {group}" if group else scale for scale in (EM, PUBLISHED)}
    return {
        scale: results[name] for scale, name in names.items() if np.any(results[name].entries > 0)
    }


def _summary(found: Mapping[str, Any]) -> dict[str, str]:
    lines = {}
    for scale, result in found["linearity_true_energy"].items():
        off = np.abs(result.linearity[result.edges[:-1] >= UNBIASED])
        if np.isfinite(off).any():
            lines[f"largest non-linearity above {UNBIASED:g} GeV, {scale}"] = (
                f"{np.nanmax(off):.3f}"
            )
    for scale, result in found["resolution_true_energy"].items():
        width = result.resolution[result.edges[:-1] >= UNBIASED]
        if np.isfinite(width).any():
            name = f"mean relative resolution above {UNBIASED:g} GeV, {scale}"
            lines[name] = f"{np.nanmean(width):.3f}"
    return lines
