"""Every method of decorrelation on the same jets: how well each separates, and how it sculpts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import awkward as ak
import numpy as np

from hepcalib import hists, inference, metrics, ntuples
from hepcalib.exceptions import ConfigError, suggestion
from hepcalib.inference import DecorrelatedTagger, Handle
from hepcalib.processors.columns import floats
from hepcalib.processors.decorrelation_study import PROFILES, comparison
from hepcalib.processors.jet_tagging import MASSES
from hepcalib.processors.options import choice, interval
from hepcalib.processors.ranked import Ranked
from hepcalib.training.devices import DEVICES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hist import Hist

    from hepcalib.study import Study

__all__ = ["DecorrelationComparison"]

Tagger: TypeAlias = Handle | DecorrelatedTagger | Path
Filled: TypeAlias = "dict[str, Hist[Any]]"

SLICES: Mapping[str, Sequence[float]] = {
    "pt": (200, 260, 330, 430, 560, 720, 930, 1200, 1550, 2000),
    "n_pv": (0, 5, 10, 15, 20, 25, 30),
}
SLICED = ("pt", "n_pv", "mu", "rho", "eta")


class DecorrelationComparison(Ranked):
    """Hold methods of decorrelation against each other; the name of a role is that of the method.

    A role takes a tagger, a decorrelated tagger, or a scan. The values of a scan are strengths of
    the method, or seeds of the same training. Background are the jets labelled 0, signal those
    labelled `signal`.

    Args:
        signal: Truth label of the signal.
        pt_range: Raw transverse momenta [GeV] of the jets.
        mass_range: Masses [GeV] of the jets.
        mass: Column of the mass that the background is counted in.
        weights: Whether event weights enter the histograms, or every jet counts as one.
        slices: Variables in whose bins all is repeated, with the edges; by default bins of pt
            (200-2000 GeV) and n_pv (0-30). Each bin takes 0.4 MB for every tagger.
        seeds: Roles whose scans differ in the seed only.
        device: auto, cpu or cuda.
        methods: Taggers, or scans of them, by name.

    Raises:
        ConfigError: if the value of an option is unknown or not possible, or there is no tagger.
    """

    kind = "tagger"  # of the models that it takes
    bins = (1000, 500)  # for all jets, and for those of the slices

    def __init__(
        self,
        *,
        signal: int = 1,
        pt_range: tuple[float, float] = (0.0, np.inf),
        mass_range: tuple[float, float] = (50.0, 300.0),
        mass: str = "softdrop_mass",
        weights: Literal["event", "none"] = "event",
        slices: Mapping[str, Sequence[float]] = SLICES,
        seeds: Sequence[str] = (),
        device: str = "auto",
        **methods: Tagger | Mapping[float, Tagger],
    ) -> None:
        self.device = choice("device", device, DEVICES)
        self.weights = choice("weights", weights, ("event", "none"))
        self.mass, self.signal = choice("mass", mass, MASSES), signal
        self.ranges = {
            "pt": interval("pt_range", pt_range),
            mass: interval("mass_range", mass_range),
        }
        self.slices = {choice("slices", name, SLICED): tuple(at) for name, at in slices.items()}
        self.taggers = _trainings(methods, seeds)
        self.needs = ("label", mass)
        for variable, at in self.slices.items():
            hists.variable_axis(variable, edges=at)

    def process(self, events: ak.Array) -> dict[str, Any]:
        """Return the rows or histograms of one chunk."""
        jets = ak.flatten(ntuples.objects(events), axis=1)
        selected = np.ones(len(jets), dtype=bool)
        for column, (low, high) in self.ranges.items():
            selected &= (floats(jets, column) >= low) & (floats(jets, column) < high)
        jets = jets[selected]
        answers = inference.tag_each(
            self.taggers, jets, device=self.device, where=ntuples.where(events)
        )
        label, variables = floats(jets, "label"), {*PROFILES[1:], *self.slices}
        rows = hists.score_rows(
            {name: floats(answer, "score") for name, answer in answers.items()},
            labels={"background": label == 0, "signal": label == self.signal},
            weight=floats(jets, "weight") if self.weights == "event" else np.ones(len(jets)),
            values={"mass": floats(jets, self.mass)} | {v: floats(jets, v) for v in variables},
        )
        return self.collected(rows)

    def counted(self, rows: hists.ScoreRows, *ranks: hists.Ranks) -> Filled:
        """Return the histograms of rows; recorded data have no mu."""
        filled = {f"score_{v}": hists.counted_scores(rows, v, ranks=ranks[0]) for v in PROFILES}
        for variable, at in self.slices.items():
            for key, count in (
                ("slices", hists.counted_scores),
                ("sculpting", hists.counted_sculpting),
            ):
                filled[f"{key}_{variable}"] = count(rows, variable, ranks=ranks[1], edges=at)
        return filled

    @staticmethod
    def study(histograms: Mapping[str, Hist[Any]]) -> Study:
        """Return all figures of merit of all trainings, and figures of one training per method.

        That is the strongest one. Repetitions with other seeds are in the table and beside the
        paths; in the other figures only if there is nothing else.
        """
        return comparison(histograms)


def _trainings(methods: Mapping[str, Any], seeds: Sequence[str]) -> dict[str, Tagger]:
    """Return every tagger by the name of its training."""
    found: dict[str, Any] = {}
    for name, given in methods.items():
        kind: Literal["strength", "seed"] = "seed" if name in seeds else "strength"
        if isinstance(given, Mapping):
            for value, tagger in given.items():
                found[metrics.training_name(name, kind=kind, value=float(value))] = tagger
        else:
            found[metrics.training_name(name)] = given
    for name, tagger in found.items():
        if not isinstance(tagger, Handle | DecorrelatedTagger | Path):
            msg = f"{name} is {tagger!r}; needed: the name of an option, or a tagger"
            raise ConfigError(msg)
    if not found:
        msg = "no taggers; needed: at least one, each in a role of its own name"
        raise ConfigError(msg)
    scans = [name for name, given in methods.items() if isinstance(given, Mapping)]
    for name in seeds:
        if name not in scans:
            msg = f"seeds: '{name}' is no role with a scan. {suggestion(name, scans)}"
            raise ConfigError(msg)
    return found
