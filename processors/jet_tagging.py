"""Tagged jets: ROC curve, and how each tagger sculpts the mass of the background."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import awkward as ak
import numpy as np

from hepcalib import hists, inference, metrics, ntuples, plots
from hepcalib.processors.columns import floats, save_columns
from hepcalib.processors.options import choice, interval
from hepcalib.processors.ranked import Ranked
from hepcalib.study import Study
from hepcalib.training.devices import DEVICES

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from hist import Hist
    from numpy.typing import NDArray

    from hepcalib.inference import DecorrelatedTagger, Handle

__all__ = ["JetTagging"]

VARIABLES = ("mass", "mu", "n_pv")
TAGGERS = ("plain", "decorrelated")
MASSES = ("mass", "softdrop_mass", "trimmed_mass")


class JetTagging(Ranked):
    """Score jets with a plain and a decorrelated tagger.

    Background are the jets labelled 0, signal those labelled `signal`, the others are unlabelled.

    Args:
        plain: A bundle, or its handle, of a tagger.
        decorrelated: The same of a tagger trained not to depend on the mass, or a decorrelated
            tagger.
        signal: Truth label of the signal.
        pt_range: Raw transverse momenta [GeV] of the jets that fill the histograms.
        mass_range: Masses [GeV] of the jets that fill the histograms.
        mass: Column of the mass that the background is counted in.
        weights: Whether event weights enter the histograms, or every jet counts as one.
        columns: Folder for the scores, a part per chunk; none are written if None.
        device: auto, cpu or cuda.

    Raises:
        ConfigError: if the value of an option is unknown, or a range is none.
    """

    kind = "tagger"  # of the models that it takes

    def __init__(
        self,
        *,
        plain: Handle | DecorrelatedTagger | Path,
        decorrelated: Handle | DecorrelatedTagger | Path,
        signal: int = 1,
        pt_range: tuple[float, float] = (0.0, np.inf),
        mass_range: tuple[float, float] = (50.0, 300.0),
        mass: str = "softdrop_mass",
        weights: Literal["event", "none"] = "event",
        columns: str | None = None,
        device: str = "auto",
    ) -> None:
        self.taggers = {"plain": plain, "decorrelated": decorrelated}
        self.signal = signal
        self.mass = choice("mass", mass, MASSES)
        self.ranges = {
            "pt": interval("pt_range", pt_range),
            mass: interval("mass_range", mass_range),
        }
        self.weights = choice("weights", weights, ("event", "none"))
        self.columns = columns
        self.device = choice("device", device, DEVICES)
        self.needs = (mass,)

    def process(self, events: ak.Array) -> dict[str, Any]:
        """Return the rows or histograms of one chunk."""
        jets = ak.flatten(ntuples.objects(events), axis=1)
        answers = inference.tag_each(
            self.taggers, jets, device=self.device, where=ntuples.where(events)
        )
        if self.columns is not None:
            save_columns(self.columns, events, _columns(jets, answers))
        selected = np.ones(len(jets), dtype=bool)
        for column, (low, high) in self.ranges.items():
            selected &= (floats(jets, column) >= low) & (floats(jets, column) < high)
        jets = jets[selected]
        label = floats(jets, "label")
        weight = floats(jets, "weight") if self.weights == "event" else np.ones(len(jets))
        background, signal = label == 0, label == self.signal
        rows = hists.score_rows(
            {name: floats(answer, "score")[selected] for name, answer in answers.items()},
            labels={
                "background": background,
                "signal": signal,
                "unlabelled": ~(background | signal),
            },
            weight=weight,
            values={
                "mass": floats(jets, self.mass),
                **{name: floats(jets, name) for name in ("pt", *VARIABLES[1:])},
            },
        )
        return {"score": hists.counted_scores(rows, "pt"), **self.collected(rows)}

    def counted(self, rows: hists.ScoreRows, *ranks: hists.Ranks) -> dict[str, Hist[Any]]:
        """Return the histograms of rows; recorded data have no mu."""
        return {f"score_{v}": hists.counted_scores(rows, v, ranks=ranks[0]) for v in VARIABLES}

    @staticmethod
    def study(histograms: Mapping[str, Hist[Any]]) -> Study:
        """Return scores and, where the truth is known, ROC curve and sculpting, with figures."""
        masses = histograms["score_mass"]
        scores = metrics.score_distribution(histograms["score"])
        figures = {"score": plots.score_figure(scores)}
        entries = masses.project("label").values()
        if not all(entries[hists.LABELS.index(truth)] for truth in ("background", "signal")):
            return Study({"score": scores}, figures, {})
        curves, split = metrics.roc(masses), metrics.mass_split(masses)
        merit = metrics.decorrelation(masses)
        figures["roc"] = plots.roc_figure(curves)
        figures["decorrelation"] = plots.decorrelation_figure(merit)
        figures["mass"] = plots.mass_sculpting_figure(split)
        profiles = {v: metrics.efficiency_profile(histograms[f"score_{v}"]) for v in VARIABLES}
        for variable, profile in profiles.items():
            figures[f"efficiency_{variable}"] = plots.efficiency_figure(profile)
        found = {"score": scores, "roc": curves, "decorrelation": merit, "efficiency": profiles}
        return Study(found, figures, _summary(curves, merit))


def _columns(jets: ak.Array, answers: Mapping[str, ak.Array]) -> dict[str, NDArray[Any]]:
    columns = {key: np.asarray(jets[key]) for key in ("run", "lumi", "event", "index")}
    for name, answer in answers.items():
        columns[f"score_{name}"] = floats(answer, "score")
        columns[f"score_{name}_stat"] = floats(answer, "score_stat")
        columns[f"in_range_{name}"] = np.asarray(answer["in_range"])
    return columns


def _summary(
    curves: Mapping[str, metrics.Roc], merit: Mapping[str, metrics.Decorrelation]
) -> dict[str, str]:
    lines = {f"AUC, {name}": f"{c.auc:.4f} +- {c.auc_error:.4f}" for name, c in curves.items()}
    for name, found in merit.items():
        r50, jsd = found.rejection, found.jsd
        lines[f"R50, {name}"] = f"{r50.rejection:.2f} +- {r50.rejection_error:.2f}"
        lines[f"1/JSD at 50 % signal efficiency, {name}"] = (
            f"{jsd.one_over:.1f} +- {jsd.one_over_error:.1f} (limit {jsd.one_over_limit:.1f})"
        )
    return lines
