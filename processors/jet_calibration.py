"""Calibrated jets: response and resolution against pT, pseudorapidity and pile-up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import awkward as ak
import numpy as np
from coffea.processor import ProcessorABC

from hepcalib import calibration as truths
from hepcalib import inference, metrics, ntuples, plots
from hepcalib.study import Study
from hepcalib.training.devices import DEVICES
from processors.columns import floats, save_columns
from processors.options import choice
from processors.responses import fill_pulls, fill_responses, response_study

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from hist import Hist
    from numpy.typing import NDArray

    from hepcalib.inference import Handle

__all__ = ["JetCalibration"]

SCALES = ("Raw", "Published", "Calibrated")
VARIABLES = ("true_pt", "eta", "mu", "n_pv", "rho")


class JetCalibration(ProcessorABC):  # type: ignore[misc]  # coffea is untyped
    """Calibrate the transverse momentum of jets; those matched to a true jet fill the histograms.

    Args:
        calibration: A bundle, or its handle, that predicts the response of jets.
        weights: Whether event weights enter the histograms, or every jet counts as one.
        columns: Folder for the calibrated jets, a part per chunk; none are written if None.
        device: auto, cpu or cuda.

    Raises:
        ConfigError: if the value of an option is unknown.
    """

    kind = "response"  # of the models that it takes
    needs = ("matched", "gen_pt")

    def __init__(
        self,
        *,
        calibration: Handle | Path,
        weights: Literal["event", "none"] = "event",
        columns: str | None = None,
        device: str = "auto",
    ) -> None:
        self.calibration = calibration
        self.weights = choice("weights", weights, ("event", "none"))
        self.columns = columns
        self.device = choice("device", device, DEVICES)

    def process(self, events: ak.Array) -> dict[str, Hist[Any]]:
        """Return the histograms of one chunk."""
        jets = ak.flatten(ntuples.objects(events), axis=1)
        answer = inference.predict(
            self.calibration, jets, device=self.device, where=ntuples.where(events)
        )
        if self.columns is not None:
            save_columns(self.columns, events, _columns(jets, answer))
        matched = np.asarray(jets["matched"])
        jets, answer = jets[matched], answer[matched]
        momenta = _momenta(jets, answer)
        truth = floats(jets, "gen_pt")
        weight = floats(jets, "weight") if self.weights == "event" else np.ones(len(jets))
        variables = {name: floats(jets, name) for name in VARIABLES[1:]}
        target = truths.log10_response(momenta["Raw"], truth)
        return {
            **fill_responses(
                momenta,
                truth,
                {"true_pt": truth, **variables},
                scales=SCALES,
                weight=weight,
                quantity="pt",
            ),
            **fill_pulls(answer, target, weight=weight),
        }

    def postprocess(self, accumulator: dict[str, Hist[Any]]) -> dict[str, Hist[Any]]:
        """Return the sum as it is."""
        return accumulator

    @staticmethod
    def study(histograms: Mapping[str, Hist[Any]]) -> Study:
        """Return response, resolution and pulls of jets, with their figures."""
        found, figures = response_study(histograms, VARIABLES)
        found["pulls"] = metrics.pulls(histograms["pull"])
        found["uncertainty"] = metrics.uncertainty_spectrum(histograms["uncertainty"])
        figures["pulls"] = plots.pull_figure(found["pulls"])
        figures["uncertainty"] = plots.uncertainty_figure(found["uncertainty"])
        total = found["pulls"]["total"]
        summary = {
            f"mean resolution over true pT, {scale}": f"{np.nanmean(result.resolution):.3f}"
            for scale, result in found["resolution_true_pt"].items()
        }
        summary["width of the pulls"] = f"{total.width:.3f} +- {total.width_error:.3f}"
        return Study(found, figures, summary)


def _momenta(jets: ak.Array, answer: ak.Array) -> dict[str, NDArray[np.float64]]:
    """Return the transverse momentum [GeV] at every scale, NaN where the ntuple has none."""
    raw = floats(jets, "pt")
    return {
        "Raw": raw,
        "Published": floats(jets, "pt_published"),
        "Calibrated": raw / floats(answer, "response"),
    }


def _columns(jets: ak.Array, answer: ak.Array) -> dict[str, NDArray[Any]]:
    columns = {key: np.asarray(jets[key]) for key in ("run", "lumi", "event", "index")}
    pt = floats(jets, "pt") / floats(answer, "response")
    columns["pt_calibrated"] = pt
    for suffix in ("stat", "syst", "tot"):
        relative = floats(answer, f"sigma_{suffix}") / floats(answer, "response")
        columns[f"pt_sigma_{suffix}"] = pt * relative
    columns["response"] = floats(answer, "response")
    columns["in_range"] = np.asarray(answer["in_range"])
    return columns
