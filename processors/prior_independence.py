"""Whether calibrations close whatever the spectrum: that of the training, and that of the test."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from coffea.processor import ProcessorABC

from hepcalib import inference, ntuples
from hepcalib.exceptions import ConfigError
from hepcalib.hists.axes import VARIABLES
from hepcalib.hists.closure import (
    FACTOR,
    closure,
    fill_closure,
    fill_sampled_spectrum,
    sampled_spectra,
)
from hepcalib.metrics.closure import closures, shift
from hepcalib.metrics.reweighting import SPECTRA
from hepcalib.plots.closure import closure_figure
from hepcalib.processors.clusters import is_measurable
from hepcalib.processors.columns import floats
from hepcalib.processors.options import choice
from hepcalib.study import Study
from hepcalib.training.devices import DEVICES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import awkward as ak
    from hist import Hist
    from matplotlib.figure import Figure

    from hepcalib.inference import Handle
    from hepcalib.metrics.closure import Closure, Shift

__all__ = ["PriorIndependence"]

SHIFTED = "_shifted"  # ends the role of the same method trained on another spectrum
BINNED_IN: tuple[Literal["truth", "reco"], ...] = ("truth", "reco")
_EDGES = VARIABLES["true_energy"].edges
_POPULATED = 1000  # effective entries of the bins that the summary speaks of
_LEAST = 100.0  # of a bin that has a closure at all: its median is known to an eighth of the width


class PriorIndependence(ProcessorABC):  # type: ignore[misc]  # coffea is untyped
    """Compare calibrations of clusters in bins of the truth, for several spectra.

    A method that is given twice, as `NAME` and `NAME_shifted`, was trained on two spectra: the
    study shows how far its closure moves.

    Reference: arXiv:2205.05084, arXiv:2404.18992.

    Args:
        spectra: What the test spectrum is reweighted to, of `metrics.SPECTRA`, "nominal" first.
        device: auto, cpu or cuda.
        methods: Name -> a bundle, or its handle, that predicts the response of clusters.

    Raises:
        ConfigError: if there is no method, a spectrum or the device is unknown, or a shifted method
            has no partner.
    """

    kind = "response"  # of the models that it takes
    needs = ("true_energy",)

    def __init__(
        self,
        *,
        spectra: Sequence[str] = ("nominal", "uniform", "log_uniform", "exponential"),
        device: str = "auto",
        **methods: Handle | Path,
    ) -> None:
        self.spectra = tuple(choice("spectra", spectrum, SPECTRA) for spectrum in spectra)
        self.device = choice("device", device, DEVICES)
        self.methods = methods
        alone = [m for m in methods if m.endswith(SHIFTED) and m[: -len(SHIFTED)] not in methods]
        if not methods or alone or self.spectra[:1] != ("nominal",):
            msg = (
                f"PriorIndependence: methods {sorted(methods)}, spectra {list(self.spectra)}; "
                f"needed: a method, NAME for each NAME{SHIFTED}, the spectrum 'nominal' first"
            )
            raise ConfigError(msg)

    def process(self, events: ak.Array) -> dict[str, Hist[Any]]:
        """Return the histograms of one chunk."""
        clusters = ntuples.objects(events)
        clusters = clusters[is_measurable(clusters)]
        truth, weight = floats(clusters, "true_energy"), floats(clusters, "weight")
        histogram, spectrum = closure(list(self.methods)), sampled_spectra(self.spectra)
        fill_sampled_spectrum(spectrum, truth, weight=weight)
        for method, model in self.methods.items():
            answer = inference.predict(
                model, clusters, device=self.device, where=ntuples.where(events)
            )
            calibrated = floats(clusters, "energy") / floats(answer, "response")
            fill_closure(histogram, method=method, true=truth, calibrated=calibrated, weight=weight)
        return {"closure": histogram, "spectrum": spectrum}

    def postprocess(self, accumulator: dict[str, Hist[Any]]) -> dict[str, Hist[Any]]:
        """Return the sum as it is."""
        return accumulator

    @staticmethod
    def study(histograms: Mapping[str, Hist[Any]]) -> Study:
        """Return the closures, and how far each moves with the training and the test spectrum."""
        found: dict[str, Any] = {}
        figures: dict[str, Figure] = {}
        nominal, reco = (_closures(histograms, binned_in=binned_in) for binned_in in BINNED_IN)
        own = {name: c for name, c in nominal.items() if not name.endswith(SHIFTED)}
        for statistic in ("mean", "median", "mode"):
            moved = _training_shifts(nominal, statistic)
            found[f"training_shift_{statistic}"] = moved
            figures[f"closure_{statistic}"] = closure_figure(
                own, moved, statistic=statistic, shifted="training spectrum"
            )
        found["closure"] = nominal
        for binned_in, before in zip(BINNED_IN, (nominal, reco), strict=True):
            for spectrum in [str(name) for name in histograms["spectrum"].axes[0]][1:]:
                key = f"{binned_in}_{spectrum}"
                after = _closures(histograms, binned_in=binned_in, spectrum=spectrum)
                moved = {name: shift(before[name], after[name]) for name in own}
                found[f"closure_{key}"], found[f"test_shift_{key}"] = after, moved
                figures[f"closure_{key}"] = closure_figure(
                    {name: after[name] for name in own},
                    moved,
                    shifted=f"test spectrum, to {spectrum.replace('_', '-')}",
                )
        summary = _summary(own, found["training_shift_median"]) | _runaways(nominal)
        return Study(found, figures, summary)


def _closures(
    histograms: Mapping[str, Hist[Any]],
    *,
    binned_in: Literal["truth", "reco"],
    spectrum: str = "nominal",
) -> dict[str, Closure]:
    return closures(
        histograms["closure"],
        edges=_EDGES,
        binned_in=binned_in,
        spectrum=spectrum,
        minimum_entries=_LEAST,
    )


def _training_shifts(found: Mapping[str, Closure], statistic: str) -> dict[str, Shift]:
    """Return how far each method moves that was trained on two spectra."""
    return {
        name: shift(found[name], found[f"{name}{SHIFTED}"], statistic=statistic)
        for name in found
        if f"{name}{SHIFTED}" in found
    }


def _runaways(found: Mapping[str, Closure]) -> dict[str, str]:
    """Return the share of the clusters that a method sends far away, where there are any."""
    lines = {}
    for name, one in found.items():
        known = np.isfinite(one.outside)
        entries = one.entries[known]
        share = float(one.outside[known] @ entries / entries.sum()) if known.any() else 0.0
        if share > 0.0:
            lines[f"calibrated beyond a factor {FACTOR:.0f} of the truth, {name}"] = (
                f"{100.0 * share:.2f} %"
            )
    return lines


def _summary(own: Mapping[str, Closure], moved: Mapping[str, Shift]) -> dict[str, str]:
    """Return the main numbers: in the bins that are populated."""
    lines = {}
    for name, found in own.items():
        populated = found.entries >= _POPULATED
        if not populated.any():
            continue
        worst = np.abs(found.median[populated] - 1.0).max()
        lines[f"largest non-closure of the median in truth bins, {name}"] = f"{worst:.4f}"
        if name in moved:
            shifts = np.abs(moved[name].shift[populated])
            lines[f"shift of the median with the training spectrum, {name}"] = (
                f"mean {100.0 * shifts.mean():.2f} %, largest {100.0 * shifts.max():.2f} %"
            )
    return lines
