"""Any number of taggers on the same jets: ROC curves, rejections, sizes and speeds."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import awkward as ak
import numpy as np

from hepcalib import hists, inference, metrics, ntuples, plots
from hepcalib.exceptions import ConfigError
from hepcalib.inference import DecorrelatedTagger, Handle
from hepcalib.processors.columns import floats
from hepcalib.processors.options import choice, interval
from hepcalib.processors.ranked import Ranked
from hepcalib.study import Study
from hepcalib.training.devices import DEVICES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hist import Hist
    from numpy.typing import NDArray

__all__ = ["TaggerComparison"]

Tagger: TypeAlias = Handle | DecorrelatedTagger | Path


class TaggerComparison(Ranked):
    """Hold taggers against each other; the name of a role is that of the tagger in the figures.

    Background are the jets labelled 0, signal those labelled `signal`.

    Args:
        signal: Truth label of the signal.
        pt_range: Raw transverse momenta [GeV] of the jets.
        mass_range: Soft-drop masses [GeV] of the jets; None takes all.
        weights: Whether event weights enter the histograms, or every jet counts as one.
        timing: Whether to measure the time of the predictions, from columns to scores: that of
            this machine, with what else it does. Times differ from run to run.
        device: auto, cpu or cuda.
        taggers: Bundles, their handles or decorrelated taggers, by name.

    Raises:
        ConfigError: if the value of an option is unknown, or there is no tagger.
    """

    kind = "tagger"  # of the models that it takes

    def __init__(
        self,
        *,
        signal: int = 1,
        pt_range: tuple[float, float] = (0.0, np.inf),
        mass_range: tuple[float, float] | None = None,
        weights: Literal["event", "none"] = "event",
        timing: bool = False,
        device: str = "auto",
        **taggers: Tagger,
    ) -> None:
        self.device = choice("device", device, DEVICES)
        self.weights = choice("weights", weights, ("event", "none"))
        self.ranges = {"pt": interval("pt_range", pt_range)}
        if mass_range is not None:
            self.ranges["softdrop_mass"] = interval("mass_range", mass_range)
        self.taggers, self.signal, self.timing = _checked(taggers), signal, timing
        self.needs = ("label", *tuple(self.ranges)[1:])

    def process(self, events: ak.Array) -> dict[str, Any]:
        """Return the rows or histograms of one chunk."""
        jets = ak.flatten(ntuples.objects(events), axis=1)
        selected = np.ones(len(jets), dtype=bool)
        for column, (low, high) in self.ranges.items():
            selected &= (floats(jets, column) >= low) & (floats(jets, column) < high)
        jets = jets[selected]
        label = floats(jets, "label")
        costs = hists.tagger_cost(tuple(self.taggers))
        rows = hists.score_rows(
            {
                name: self._score(costs, name, tagger, jets, ntuples.where(events))
                for name, tagger in self.taggers.items()
            },
            labels={"background": label == 0, "signal": label == self.signal},
            weight=floats(jets, "weight") if self.weights == "event" else np.ones(len(jets)),
            values={"pt": floats(jets, "pt")},
        )
        scores = hists.counted_scores(rows, "pt")
        return {"cost": costs, "score": scores, **self.collected(rows)}

    def counted(self, rows: hists.ScoreRows, *ranks: hists.Ranks) -> dict[str, Hist[Any]]:
        """Return the histograms of rows."""
        return {"score_pt": hists.counted_scores(rows, "pt", ranks=ranks[0])}

    def _score(
        self, costs: Hist[Any], name: str, tagger: Tagger, jets: ak.Array, where: str
    ) -> NDArray[np.float64]:
        """Return the scores, and fill what they have cost."""
        model = tagger.tagger if isinstance(tagger, DecorrelatedTagger) else tagger
        parameters = 0 if model is None else self._parameters(model)
        start = time.perf_counter()
        answer = inference.tag(tagger, jets, device=self.device, where=where)
        seconds = time.perf_counter() - start if self.timing else None
        hists.fill_tagger_cost(
            costs, tagger=name, jets=len(jets), parameters=parameters, seconds=seconds
        )
        return floats(answer, "score")

    def _parameters(self, model: Handle | Path) -> int:
        network = inference.resident(model, device=self.device).model
        return sum(parameter.numel() for parameter in network.parameters())

    @staticmethod
    def study(histograms: Mapping[str, Hist[Any]]) -> Study:
        """Return ROC curves, figures of merit and costs, with their figures."""
        scores, ranks = histograms["score"], histograms["score_pt"]
        curves = metrics.roc(ranks)
        merits, costs = metrics.tagger_merits(ranks), metrics.tagger_costs(histograms["cost"])
        figures = {
            "roc": plots.roc_figure(curves),
            "score": plots.score_figure(metrics.score_distribution(scores)),
            "comparison": plots.tagger_comparison_figure(merits, costs),
            "reliability": plots.reliability_figure(metrics.reliability(scores, signal_share=0.5)),
        }
        found = {"roc": curves, "merit": merits, "cost": costs}
        return Study(found, figures, _summary(merits, costs))


def _checked(taggers: Mapping[str, Any]) -> dict[str, Tagger]:
    for name, tagger in taggers.items():
        if not isinstance(tagger, Handle | DecorrelatedTagger | Path):
            msg = f"{name} is {tagger!r}; needed: the name of an option, or a tagger"
            raise ConfigError(msg)
    if not taggers:
        msg = "no taggers; needed: at least one, each in a role of its own name"
        raise ConfigError(msg)
    return dict(taggers)


def _summary(
    merits: Mapping[str, metrics.TaggerMerit], costs: Mapping[str, metrics.TaggerCost]
) -> dict[str, str]:
    lines = {}
    for name, found in merits.items():
        values = [f"AUC {found.auc:.4f} +- {found.auc_error:.4f}"]
        for point, value, error in zip(
            found.signal_efficiencies, found.rejections, found.rejection_errors, strict=True
        ):
            values.append(f"R{100.0 * point:.0f} {value:.1f} +- {error:.1f}")
        values.append(f"{costs[name].parameters:,.0f} parameters")
        if np.isfinite(costs[name].jets_per_second):
            values.append(f"{costs[name].jets_per_second:,.0f} jets/s")
        lines[name] = ", ".join(values)
    return lines
