"""Calibrated jets: response and resolution against truth, position, pile-up and flavour."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import awkward as ak
import hist
import numpy as np
from coffea.processor import ProcessorABC

from hepcalib import calibration as truths
from hepcalib import hists, inference, metrics, ntuples, plots
from hepcalib.hists.axes import fill, flavour_bins, histogram
from hepcalib.ntuples import quantities
from hepcalib.processors.columns import calibrated_columns, floats, in_place, save_columns
from hepcalib.processors.options import choice
from hepcalib.processors.residuals import corrected
from hepcalib.processors.responses import (
    coverage_study,
    covered,
    fill_coverages,
    fill_pulls,
    fill_responses,
    response_study,
    within,
)
from hepcalib.study import Study
from hepcalib.training.devices import DEVICES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from hist import Hist
    from numpy.typing import NDArray

    from hepcalib.hists.response import Measured
    from hepcalib.inference import Handle

    Floats = NDArray[np.float64]

__all__ = ["JetCalibration"]

SCALES = ("Raw", "Published", "Calibrated", "Residual")
POSITIONS = ("eta", "mu", "n_pv", "rho")
COVERED = ("eta", "mu")  # beside the true value
RESPONSES: dict[str, Measured] = {"pt": "pt", "energy": "jet_energy", "mass": "mass"}
SHOWN, SHOWN_OF_MASS = (-0.2, 0.3), (-0.5, 1.5)
"""Range of the non-linearity that figures show: at the threshold of the jets it is larger."""

COVERAGE_SHOWN = (0.4, 1.0)
"""Range of the coverage that its figure against the truth shows: only jets that are measured too
large pass the threshold of the jets."""

OUTCOMES = ("with a response", "without a true jet", "not positive")


class JetCalibration(ProcessorABC):  # type: ignore[misc]  # coffea is untyped
    """Calibrate the transverse momentum, energy or mass of jets, whichever the model is for.

    Jets matched to a true jet whose measured and true values are positive have a response: they
    fill the histograms. The histogram `jets` counts all jets, also those without a response. The
    columns have a row for every jet too; one whose measured value is not positive is not
    calibrated: it has NaN there, and is not in range.

    Args:
        calibration: A bundle, or its handle, that predicts the response of jets.
        residual: The file of a residual correction, applied on top.
        weights: Whether event weights enter the histograms, or every jet counts as one.
        columns: Folder for the calibrated jets, a part per chunk; none are written if None.
        device: auto, cpu or cuda.

    Raises:
        ConfigError: if the value of an option is unknown.
    """

    kind = "response"  # of the models that it takes
    needs = ("matched",)
    needs_truth = True  # of what its models calibrate

    def __init__(
        self,
        *,
        calibration: Handle | Path,
        residual: Path | str | None = None,
        weights: Literal["event", "none"] = "event",
        columns: str | None = None,
        device: str = "auto",
    ) -> None:
        self.calibration = calibration
        self.residual = None if residual is None else str(residual)
        self.weights = choice("weights", weights, ("event", "none"))
        self.columns = columns
        self.device = choice("device", device, DEVICES)

    def process(self, events: ak.Array) -> dict[str, Hist[Any]]:
        """Return the histograms of one chunk."""
        everything = ak.flatten(ntuples.objects(events), axis=1)
        spec = inference.resident(self.calibration, device=self.device).spec
        quantity = str(spec.quantity)
        # NaN goes on, to be refused by name.
        positive = ~(quantities.measured(everything, "jet", quantity) <= 0)
        jets = everything[positive]
        where = f"{ntuples.where(events)}, jets of positive {quantity}"
        answer = inference.predict(self.calibration, jets, device=self.device, where=where)
        scales = self._scales(jets, answer, quantity)
        if self.columns is not None:
            own = calibrated_columns(answer, scales["Raw"], quantity=quantity)
            if "Residual" in scales:
                own[f"{quantity}_residual"] = scales["Residual"]
            own = {name: in_place(values, positive) for name, values in own.items()}
            save_columns(self.columns, events, _given(everything, quantity) | own)
        truth = quantities.true(jets, "jet", quantity)
        known = np.asarray(jets["matched"]) & (truth > 0)
        counts = _counts(np.asarray(everything["matched"]), in_place(known, positive))
        jets, answer, truth = jets[known], answer[known], truth[known]
        scales = {name: values[known] for name, values in scales.items()}
        weight = floats(jets, "weight") if self.weights == "event" else np.ones(len(jets))
        variables = _variables(jets, truth, quantity)
        return {
            "jets": counts,
            **fill_responses(
                scales,
                truth,
                variables,
                scales=SCALES,
                weight=weight,
                quantity=RESPONSES[quantity],
            ),
            **fill_pulls(answer, truths.target(scales["Raw"], truth, spec.target), weight=weight),
            **fill_coverages(
                {name: variables[name] for name in (f"true_{RESPONSES[quantity]}", *COVERED)},
                response=scales["Raw"] / truth,
                answer=answer,
                weight=weight,
            ),
        }

    def postprocess(self, accumulator: dict[str, Hist[Any]]) -> dict[str, Hist[Any]]:
        """Return the sum as it is."""
        return accumulator

    @staticmethod
    def study(histograms: Mapping[str, Hist[Any]]) -> Study:
        """Return response, resolution and pulls of jets, with their figures."""
        variables = [name for name in hists.VARIABLES if f"response_{name}" in histograms]
        own = next((v for v in ("true_mass", "true_jet_energy") if v in variables), "true_pt")
        found, figures = response_study(histograms, variables)
        for name in {"true_pt", own} & {*variables}:
            key = f"linearity_{name}"
            figures[key] = within(figures[key], *(SHOWN_OF_MASS if own == "true_mass" else SHOWN))
        found["pulls"] = metrics.pulls(histograms["pull"])
        found["uncertainty"] = metrics.uncertainty_spectrum(histograms["uncertainty"])
        coverages, drawn = coverage_study(histograms, (own, *COVERED))
        found, figures = found | coverages, figures | drawn
        key = f"coverage_{own}"
        figures[key] = within(figures[key], *COVERAGE_SHOWN)
        figures["pulls"] = plots.pull_figure(found["pulls"])
        figures["uncertainty"] = plots.uncertainty_figure(found["uncertainty"])
        total = found["pulls"]["pull"]
        counts = histograms["jets"].values()
        found["jets"] = {name: float(n) for name, n in zip(OUTCOMES, counts, strict=True)}
        symbol = {"true_mass": "m", "true_jet_energy": "E", "true_pt": "pT"}[own]
        summary = {
            f"mean resolution over true {symbol}, {scale}": f"{_mean(result.resolution):.3f}"
            for scale, result in found[f"resolution_{own}"].items()
        }
        summary["width of the pulls"] = f"{total.width:.3f} +- {total.width_error:.3f}"
        summary["coverage of the 68.3 % interval"] = covered(found, own)
        summary |= {f"jets {name}": f"{n:.0f}" for name, n in found["jets"].items()}
        return Study(found, figures, summary)

    def _scales(self, jets: ak.Array, answer: ak.Array, quantity: str) -> dict[str, Floats]:
        """Return the quantity [GeV] at every scale, NaN where the ntuple has none."""
        raw = quantities.measured(jets, "jet", quantity)
        calibrated = raw / floats(answer, "response")
        found = {"Raw": raw, "Calibrated": calibrated}
        if quantity == "pt":
            found["Published"] = floats(jets, "pt_published")
        if self.residual is not None:
            found["Residual"] = corrected(self.residual, jets, calibrated, quantity=quantity)
        return found


def _variables(jets: ak.Array, truth: Floats, quantity: str) -> dict[str, Floats]:
    return {
        f"true_{RESPONSES[quantity]}": truth,
        "true_pt": floats(jets, "gen_pt"),
        **{name: floats(jets, name) for name in POSITIONS},
        "flavour": flavour_bins(jets["flavour"]),
    }


def _mean(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")


def _counts(matched: NDArray[np.bool_], known: NDArray[np.bool_]) -> Hist[Any]:
    """Return how many jets there are, each counted as one, by what becomes of them."""
    edges = np.arange(len(OUTCOMES) + 1) - 0.5
    label = "Jets " + ", ".join(f"{OUTCOMES[i]} ({i})" for i in range(len(OUTCOMES)))
    counts = histogram(hist.axis.Variable(edges, name="outcome", label=label, metadata="linear"))
    fill(counts, None, categories={}, values={"outcome": np.select([known, ~matched], [0, 1], 2)})
    return counts


def _given(jets: ak.Array, quantity: str) -> dict[str, NDArray[Any]]:
    """Return which jet each is, with its measured and its true quantity [GeV]."""
    given = {k: np.asarray(jets[k]) for k in ("run", "lumi", "event", "index", "weight", "matched")}
    return given | {
        quantity: quantities.measured(jets, "jet", quantity),
        f"true_{quantity}": quantities.true(jets, "jet", quantity),
    }
