from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy.special import expit

from hepcalib import hists, metrics, plots

if TYPE_CHECKING:
    from hist import Hist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

JETS = 2000


@pytest.fixture
def filled(scores: Hist[Any]) -> dict[str, Hist[Any]]:
    rng = np.random.default_rng(9)
    logit, width = rng.normal(0.0, 2.0, JETS), rng.lognormal(-1.0, 0.4, JETS)
    made: dict[str, Hist[Any]] = {
        "scores": scores.copy(),
        "spread": hists.score_spread(["Weight draws", "Of the logit"]),
        "change": hists.score_change("logit_mean", shifts=["-0.1", "+0.1"]),
        "width": hists.logit_width(["Nominal", "Hardest constituent +0.1"]),
        "ratio": hists.width_ratio(),
        "cost": hists.tagger_cost(["plain", "disco"]),
    }
    spread = metrics.linear_spread(expit(logit), width)
    for origin in ("Weight draws", "Of the logit"):
        hists.fill_score_spread(made["spread"], origin=origin, score=expit(logit), spread=spread)
    for label in ("signal", "background"):
        for shift in ("-0.1", "+0.1"):
            change = float(shift) * logit
            hists.fill_score_change(made["change"], shift=shift, label=label, change=change)
        for shift in ("Nominal", "Hardest constituent +0.1"):
            hists.fill_logit_width(made["width"], shift=shift, label=label, width=width)
    hists.fill_width_ratio(made["ratio"], score=expit(logit), ratio=width / 0.4)
    for tagger, size in (("plain", 1000), ("disco", 100_000)):
        hists.fill_tagger_cost(made["cost"], tagger=tagger, jets=10, parameters=size, seconds=0.1)
    return made


def drawn(made: dict[str, Hist[Any]]) -> dict[str, Figure]:
    spreads = metrics.score_spreads(made["spread"])
    changes = metrics.score_changes(made["change"])
    merits = metrics.tagger_merits(made["scores"], replicas=20)
    return {
        "reliability": plots.reliability_figure(metrics.reliability(made["scores"])),
        "spread": plots.score_spread_figure(made["spread"], spreads),
        "change": plots.score_change_figure(changes, x_label="Shift", y_label="Change"),
        "width": plots.logit_width_figure(metrics.width_spectra(made["width"])),
        "ratio": plots.width_ratio_figure(metrics.width_ratios(made["ratio"])),
        "comparison": plots.tagger_comparison_figure(merits, metrics.tagger_costs(made["cost"])),
    }


def panels(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]


def empty(axes: Axes) -> bool:
    return any(text.get_text() == "No entries" for text in axes.texts)


def test_axes_are_labelled_and_panels_filled(filled: dict[str, Hist[Any]]) -> None:
    for name, figure in drawn(filled).items():
        with plots.style():
            figure.draw_without_rendering()
        for axes in panels(figure):
            assert axes.get_xlabel(), name
            assert axes.has_data(), name
            assert not empty(axes), name
            legend = axes.get_legend()
            boxes = [text.get_window_extent() for text in axes.texts if text.get_text()]
            boxes += [legend.get_window_extent()] if legend else []
            for place, box in enumerate(boxes):
                assert not any(box.overlaps(other) for other in boxes[place + 1 :]), name
        assert panels(figure)[0].get_ylabel(), name


def test_histograms_without_entries_say_so(filled: dict[str, Hist[Any]]) -> None:
    nothing = {name: histogram.copy().reset() for name, histogram in filled.items()}
    for name, figure in drawn(nothing).items():
        assert all(empty(axes) for axes in panels(figure)), name


def test_changes_are_drawn_in_the_order_of_the_shifts(filled: dict[str, Hist[Any]]) -> None:
    (axes,) = drawn(filled)["change"].axes
    assert np.asarray(axes.lines[0].get_xdata()).tolist() == [-0.1, 0.1]
