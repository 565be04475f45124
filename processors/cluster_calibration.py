"""Calibrated topo-clusters: linearity, resolution, pulls and the spectrum of the uncertainty."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from coffea.processor import ProcessorABC

from hepcalib import calibration as truths
from hepcalib import hists, inference, metrics, ntuples, plots
from hepcalib.processors.clusters import (
    BEST,
    EM,
    LCW,
    cluster_columns,
    fill_spectra,
    given_energies,
    is_measurable,
)
from hepcalib.processors.columns import calibrated_columns, floats, in_place, save_columns
from hepcalib.processors.options import choice
from hepcalib.processors.responses import (
    coverage_study,
    covered,
    fill_coverages,
    fill_pulls,
    fill_responses,
    response_study,
)
from hepcalib.study import Study
from hepcalib.training.devices import DEVICES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import awkward as ak
    from hist import Hist
    from numpy.typing import NDArray

    from hepcalib.inference import Handle

__all__ = ["ClusterCalibration"]

SCALES = (EM, LCW, "Calibrated", BEST)
VARIABLES = ("true_energy", "calibrated_energy", "mu", "n_pv", "rapidity")
COVERED = ("calibrated_energy", "rapidity", "mu")


class ClusterCalibration(ProcessorABC):  # type: ignore[misc]  # coffea is untyped
    """Calibrate topo-clusters and compare with the EM scale, LCW and the best possible.

    The columns have a row for every cluster. One whose measured energy is not positive is not
    calibrated: it has NaN there, and is not in range.

    Reference: arXiv:2412.04370.

    Args:
        calibration: A bundle, or its handle, that predicts the response of clusters.
        columns: Folder for the calibrated clusters, a part per chunk; none are written if None.
        device: auto, cpu or cuda.

    Raises:
        ConfigError: if the device is unknown.
    """

    kind = "response"  # of the models that it takes
    needs = ("true_energy",)

    def __init__(
        self, *, calibration: Handle | Path, columns: str | None = None, device: str = "auto"
    ) -> None:
        self.calibration = calibration
        self.columns = columns
        self.device = choice("device", device, DEVICES)

    def process(self, events: ak.Array) -> dict[str, Hist[Any]]:
        """Return the histograms of one chunk."""
        everything = ntuples.objects(events)
        positive = ~(floats(everything, "energy") <= 0)  # NaN goes on, to be refused by name
        clusters = everything[positive]
        answer = inference.predict(
            self.calibration,
            clusters,
            device=self.device,
            where=f"{ntuples.where(events)}, clusters of positive energy",
        )
        if self.columns is not None:
            own = calibrated_columns(answer, floats(clusters, "energy"), quantity="energy")
            own = {name: in_place(values, positive) for name, values in own.items()}
            save_columns(self.columns, events, cluster_columns(everything) | own)
        measurable = is_measurable(clusters)
        clusters, answer = clusters[measurable], answer[measurable]
        energies = given_energies(clusters)
        energies["Calibrated"] = energies[EM] / floats(answer, "response")
        truth, weight = floats(clusters, "true_energy"), floats(clusters, "weight")
        variables = {name: floats(clusters, name) for name in ("true_energy", "mu", "n_pv")}
        variables |= {"calibrated_energy": energies["Calibrated"]}
        variables |= {"rapidity": floats(clusters, "rapidity")}
        trained = inference.resident(self.calibration, device=self.device).spec.target
        target = truths.target(energies[EM], truth, trained)
        return {
            **fill_responses(
                energies, truth, variables, scales=SCALES, weight=weight, quantity="energy"
            ),
            **fill_pulls(answer, target, weight=weight),
            **fill_coverages(
                {name: variables[name] for name in COVERED},
                response=energies[EM] / truth,
                answer=answer,
                weight=weight,
            ),
            "spectrum": fill_spectra({"True": truth, **energies}, weight),
            "uncertainty_rapidity": _uncertainty_rapidity(clusters, answer, weight),
        }

    def postprocess(self, accumulator: dict[str, Hist[Any]]) -> dict[str, Hist[Any]]:
        """Return the sum as it is."""
        return accumulator

    @staticmethod
    def study(histograms: Mapping[str, Hist[Any]]) -> Study:
        """Return linearity, resolution, pulls and uncertainty spectrum, with their figures."""
        found, figures = response_study(histograms, VARIABLES)
        found["pulls"] = metrics.pulls(histograms["pull"])
        found["pull_fractions"] = metrics.pull_fractions(histograms["pull"])
        coverages, drawn = coverage_study(histograms, COVERED)
        found, figures = found | coverages, figures | drawn
        found["uncertainty"] = metrics.uncertainty_spectrum(histograms["uncertainty"])
        spectra = metrics.spectra(histograms["spectrum"], reference="True")
        present = {scale: s for scale, s in spectra.items() if np.any(s.density > 0)}
        figures["pulls"] = plots.pull_figure(found["pulls"])
        figures["uncertainty"] = plots.uncertainty_figure(found["uncertainty"])
        figures["spectrum"] = plots.spectrum_figure(present)
        figures["uncertainty_rapidity"] = plots.uncertainty_rapidity_figure(
            histograms["uncertainty_rapidity"]
        )
        return Study(found, figures, _summary(found))


def _uncertainty_rapidity(
    clusters: ak.Array, answer: ak.Array, weight: NDArray[np.float64]
) -> Hist[Any]:
    histogram = hists.uncertainty_rapidity()
    hists.fill_uncertainty_rapidity(
        histogram,
        rapidity=floats(clusters, "rapidity"),
        uncertainty=floats(answer, "sigma_tot") / floats(answer, "response"),
        weight=weight,
    )
    return histogram


def _summary(found: Mapping[str, Any]) -> dict[str, str]:
    resolution, linearity = found["resolution_mu"], found["linearity_true_energy"]
    lines = {
        f"mean relative resolution over mu, {scale}": f"{np.nanmean(r.resolution):.3f}"
        for scale, r in resolution.items()
    }
    worst = {s: np.nanmax(np.abs(x.linearity)) for s, x in linearity.items()}
    lines |= {f"largest non-linearity, {scale}": f"{value:.3f}" for scale, value in worst.items()}
    total = found["pulls"]["pull"]
    lines["width of the pulls"] = f"{total.width:.3f} +- {total.width_error:.3f}"
    lines["coverage of the 68.3 % interval"] = covered(found, "mu")
    maxima = found["uncertainty"]["total"].peaks
    lines["maxima of the uncertainty spectrum"] = ", ".join(f"{peak:.2f}" for peak in maxima)
    return lines
