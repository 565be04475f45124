"""Scores with uncertainties: are they probabilities, and what do shifted energies do to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import awkward as ak
import numpy as np
from coffea.processor import ProcessorABC
from scipy.stats import chi2

from hepcalib import hists, inference, interpretation, metrics, ntuples, plots
from hepcalib.exceptions import ConfigError
from hepcalib.processors.columns import floats
from hepcalib.processors.options import choice, interval
from hepcalib.study import Study
from hepcalib.training.devices import DEVICES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from hist import Hist
    from numpy.typing import NDArray

    from hepcalib.inference import Handle

    Floats = NDArray[np.float64]
    Filled = dict[str, Hist[Any]]

__all__ = ["UncertainTagging"]

NOMINAL = "Nominal"
ORIGINS = ("Weight draws", "From the logit")
TOYS = {"hardest": "Hardest constituent", "regions": "Regions"}
CHANGED = ("score", "logit_mean", "logit_stat")


class _Truth(NamedTuple):
    """Which jets have which truth label, and what they count."""

    rows: dict[str, NDArray[np.bool_]]
    weight: Floats


class UncertainTagging(ProcessorABC):  # type: ignore[misc]  # coffea is untyped
    """Score jets with a tagger that has several members, such as a Bayesian one, and shifted ones.

    The energy of the hardest constituent is scaled (toy I of arXiv:1904.10004), and those of
    regions independently (toy II). Background are the jets labelled 0, signal those labelled
    `signal`; the study takes both to be equally many, as they should have been in the training.

    Args:
        tagger: A bundle, or its handle, of a tagger with members.
        networks: Taggers of one network each, trained independently on samples of their own, as
            large as that of `tagger`; the spread of their logits is held against that of the
            members.
        signal: Truth label of the signal.
        pt_range: Raw transverse momenta [GeV] of the jets, before they are shifted.
        shifts: Relative shifts of the hardest constituent.
        spreads: Standard deviations of the independent scales of the regions.
        regions: Number of regions in each of the two directions.
        weights: Whether event weights enter the histograms, or every jet counts as one.
        device: auto, cpu or cuda.

    Raises:
        ConfigError: if the value of an option is unknown or not possible.
    """

    kind = "tagger"  # of the models that it takes

    def __init__(
        self,
        *,
        tagger: Handle | Path,
        networks: Mapping[float, Handle | Path] | None = None,
        signal: int = 1,
        pt_range: tuple[float, float] = (0.0, np.inf),
        shifts: Sequence[float] = (-0.1, -0.05, 0.05, 0.1),
        spreads: Sequence[float] = (0.02, 0.05, 0.1),
        regions: int = 4,
        weights: Literal["event", "none"] = "event",
        device: str = "auto",
    ) -> None:
        self.device = choice("device", device, DEVICES)
        self.weights = choice("weights", weights, ("event", "none"))
        self.tagger, self.networks = tagger, _several(networks)
        self.signal, self.regions = signal, regions
        self.pt_range = interval("pt_range", pt_range)
        self.shifts = {
            "hardest": _named("shifts", shifts, low=-0.9),
            "regions": _named("spreads", spreads, low=0.0),
        }

    def process(self, events: ak.Array) -> Filled:
        """Return the histograms of one chunk."""
        jets = ak.flatten(ntuples.objects(events), axis=1)
        pt, where = floats(jets, "pt"), ntuples.where(events)
        jets = jets[(pt >= self.pt_range[0]) & (pt < self.pt_range[1])]
        truth = self._truth(jets)
        nominal = inference.predict(self.tagger, jets, device=self.device, where=where)
        filled = _spreads(nominal, truth) | _scores(jets, nominal, truth)
        widths = hists.logit_width([NOMINAL, *self._names()])
        _fill_widths(widths, NOMINAL, nominal, truth)
        for toy, shifts in self.shifts.items():
            changes = {q: hists.score_change(q, shifts=list(shifts)) for q in CHANGED}
            for name, size in shifts.items():
                shifted = self._shifted(toy, jets, size)
                answer = inference.predict(self.tagger, shifted, device=self.device, where=where)
                _fill_changes(changes, name, (answer, nominal), truth)
                _fill_widths(widths, f"{TOYS[toy]} {name}", answer, truth)
            filled |= {f"{toy}_{quantity}": found for quantity, found in changes.items()}
        if self.networks:
            filled["width_ratio"] = self._ratios(jets, nominal, truth.weight, where)
        return filled | {"logit_width": widths}

    def postprocess(self, accumulator: Filled) -> Filled:
        """Return the sum as it is."""
        return accumulator

    def _truth(self, jets: ak.Array) -> _Truth:
        label = floats(jets, "label")
        rows = {"background": label == 0, "signal": label == self.signal}
        rows["unlabelled"] = ~(rows["background"] | rows["signal"])
        weight = floats(jets, "weight") if self.weights == "event" else np.ones(len(jets))
        return _Truth(rows, weight)

    def _names(self) -> list[str]:
        return [f"{TOYS[toy]} {name}" for toy, shifts in self.shifts.items() for name in shifts]

    def _shifted(self, toy: str, jets: ak.Array, size: float) -> ak.Array:
        if toy == "hardest":
            return interpretation.hardest_scaled(jets, size)
        return interpretation.regions_scaled(jets, size, regions=self.regions)

    def _ratios(self, jets: ak.Array, nominal: ak.Array, weight: Floats, where: str) -> Hist[Any]:
        """Return the width of the members' logits over that of independent networks' logits.

        The latter is scaled to have the true width as its median, for normal logits.
        """
        logits = np.stack(
            [
                floats(inference.predict(n, jets, device=self.device, where=where), "logit_mean")
                for n in self.networks
            ]
        )
        freedom = len(logits) - 1
        width = logits.std(axis=0, ddof=1) / np.sqrt(chi2.ppf(0.5, freedom) / freedom)
        found, known = hists.width_ratio(), width > 0.0
        hists.fill_width_ratio(
            found,
            score=floats(nominal, "score")[known],
            ratio=floats(nominal, "logit_stat")[known] / width[known],
            weight=weight[known],
        )
        return found

    @staticmethod
    def study(histograms: Mapping[str, Hist[Any]]) -> Study:
        """Return reliability, widths and the reaction to shifts, with their figures."""
        truths = metrics.reliability(histograms["score_pt"], signal_share=0.5)
        spreads = metrics.score_spreads(histograms["score_spread"])
        widths = metrics.width_spectra(histograms["logit_width"])
        figures = {
            "reliability": plots.reliability_figure(truths),
            "score_spread": plots.score_spread_figure(histograms["score_spread"], spreads),
        }
        found: dict[str, Any] = {"reliability": truths, "score_spread": spreads, "width": widths}
        found["probit"] = metrics.score_changes(histograms["probit"])
        for toy, name in TOYS.items():
            figures[f"logit_width_{toy}"] = plots.logit_width_figure(_extremes(widths, name))
            for quantity in CHANGED:
                key = f"{toy}_{quantity}"
                found[key] = metrics.score_changes(histograms[key])
                figures[key] = plots.score_change_figure(
                    found[key], x_label=_SHIFTED[toy], y_label=histograms[key].axes[2].label
                )
        if "width_ratio" in histograms:
            found["width_ratio"] = metrics.width_ratios(histograms["width_ratio"])
            figures["width_ratio"] = plots.width_ratio_figure(found["width_ratio"])
        return Study(found, figures, _summary(found))


_SHIFTED = {
    "hardest": r"Shift $d$ of the hardest constituent",
    "regions": r"Standard deviation $s$ of the regions' scales",
}


def _several(networks: Mapping[float, Handle | Path] | None) -> tuple[Handle | Path, ...]:
    if networks is None:
        return ()
    if not hasattr(networks, "values") or len(networks) < 2:
        msg = "networks: one network; needed: a scan of at least two, for their spread"
        raise ConfigError(msg)
    return tuple(networks.values())


def _named(option: str, values: Sequence[float], *, low: float) -> dict[str, float]:
    """Return numbers by how they are written on an axis."""
    sign = "+" if low < 0.0 else ""
    named = {format(float(value), f"{sign}g"): float(value) for value in values}
    if not named or len(named) < len(values) or not all(low < x < np.inf for x in named.values()):
        msg = f"{option} is {list(values)}; needed: different numbers above {low:g}, at least one"
        raise ConfigError(msg)
    return named


def _spreads(answer: ak.Array, truth: _Truth) -> Filled:
    """Return score against its spread, as drawn and as it follows from that of the logit."""
    score, width = floats(answer, "score"), floats(answer, "logit_stat")
    filled, weight = hists.score_spread(ORIGINS), truth.weight
    spreads = floats(answer, "score_stat"), metrics.linear_spread(score, width)
    for origin, spread in zip(ORIGINS, spreads, strict=True):
        hists.fill_score_spread(filled, origin=origin, score=score, spread=spread, weight=weight)
    probit = hists.score_change("score", shifts=["probit"])
    change = metrics.probit_mean(floats(answer, "logit_mean"), width) - score
    for label, rows in truth.rows.items():
        hists.fill_score_change(
            probit, shift="probit", label=label, change=change[rows], weight=weight[rows]
        )
    return {"score_spread": filled, "probit": probit}


def _scores(jets: ak.Array, answer: ak.Array, truth: _Truth) -> Filled:
    filled = hists.score("pt", taggers=["tagger"])
    for label, rows in truth.rows.items():
        hists.fill_score(
            filled,
            tagger="tagger",
            label=label,
            score=floats(answer, "score")[rows],
            values=floats(jets, "pt")[rows],
            weight=truth.weight[rows],
        )
    return {"score_pt": filled}


def _fill_widths(histogram: Hist[Any], shift: str, answer: ak.Array, truth: _Truth) -> None:
    width = floats(answer, "logit_stat")
    for label, rows in truth.rows.items():
        hists.fill_logit_width(
            histogram, shift=shift, label=label, width=width[rows], weight=truth.weight[rows]
        )


def _fill_changes(
    changes: Filled, shift: str, answers: tuple[ak.Array, ak.Array], truth: _Truth
) -> None:
    for quantity, histogram in changes.items():
        change = floats(answers[0], quantity) - floats(answers[1], quantity)
        for label, rows in truth.rows.items():
            hists.fill_score_change(
                histogram,
                shift=shift,
                label=label,
                change=change[rows],
                weight=truth.weight[rows],
            )


def _extremes(widths: Mapping[str, Any], toy: str) -> dict[str, Any]:
    """Return the widths without a shift, and those of the smallest and the largest one of a toy."""
    sizes = {shift: float(shift.removeprefix(toy)) for shift in widths if shift.startswith(toy)}
    chosen = dict.fromkeys(
        [NOMINAL, min(sizes, key=sizes.__getitem__), max(sizes, key=sizes.__getitem__)]
    )
    return {shift: widths[shift] for shift in chosen}


def _summary(found: Mapping[str, Any]) -> dict[str, str]:
    lines = {}
    for truth in found["reliability"].values():
        lines["expected calibration error"] = (
            f"{truth.error:.4f} ({truth.error_if_right:.4f} +- {truth.error_spread:.4f} if right)"
        )
    for label, spectrum in found["width"][NOMINAL].items():
        lines[f"median width of the logit, {label}"] = (
            f"{spectrum.median:.3f} +- {spectrum.median_error:.3f}"
        )
    if "width_ratio" in found:
        ratio = found["width_ratio"]
        lines["median width of the logit over that of independent networks"] = (
            f"{ratio.median:.3f} +- {ratio.median_error:.3f}"
        )
    return lines
