from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy.special import expit

from hepcalib import hists, metrics, plots
from hepcalib.plots.style import looks

if TYPE_CHECKING:
    from hist import Hist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

EDGES = (200.0, 400.0, 800.0)
JETS = 4000


def names() -> list[str]:
    paths = [
        metrics.training_name(method, kind="strength", value=value)
        for method in ("DisCo", "MoDe[0]", "Adversary")
        for value in (1.0, 10.0, 100.0)
    ]
    seeds = [metrics.training_name("Adversary, again", kind="seed", value=n) for n in (1, 2, 3)]
    return ["Plain", *paths, *seeds, "Flow"]


@pytest.fixture(scope="module")
def filled() -> dict[str, Hist[Any]]:
    rng = np.random.default_rng(141)
    trainings = names()
    made = {
        "mass": hists.score("mass", taggers=trainings),
        "mu": hists.score("mu", taggers=trainings),
        "slices": hists.score("pt", taggers=trainings, edges=EDGES),
        "sculpting": hists.sculpting("pt", taggers=trainings, edges=EDGES),
    }
    for label, mean in (("background", -1.0), ("signal", 1.0)):
        mass, pt = 50.0 + rng.exponential(60.0, JETS), rng.uniform(200.0, 800.0, JETS)
        logit, mu = rng.normal(mean, 1.0, JETS), rng.uniform(0.0, 80.0, JETS)
        bump = 1.5 * np.exp(-0.5 * ((mass - 80.0) / 15.0) ** 2)
        for place, tagger in enumerate(trainings):
            share = place / len(trainings)
            score = expit(
                (1.0 - share) * (logit + bump) + share * rng.normal(0.6 * mean, 1.0, JETS)
            )
            where: dict[str, Any] = {"tagger": tagger, "score": score}
            for key, values in (("mass", mass), ("mu", mu), ("slices", pt)):
                hists.fill_score(made[key], label=label, values=values, **where)
            if label == "background":
                hists.fill_sculpting(made["sculpting"], mass=mass, values=pt, **where)
    return made


def drawn(made: dict[str, Hist[Any]]) -> dict[str, Figure]:
    merits = metrics.decorrelation_merits(made["mass"], replicas=20)
    limit = metrics.limit_curve(made["mass"], replicas=20)
    profiles = metrics.decorrelation_profiles(made["slices"], made["sculpting"], replicas=5)
    efficiencies = [
        metrics.efficiency_profile(made["mu"], label=label, background_efficiencies=(0.1,))
        for label in ("signal", "background")
    ]
    return {
        "paths": plots.decorrelation_paths_figure(metrics.methods(merits), merits, limit),
        "curves": plots.sculpting_curve_figure(metrics.sculpting_curves(made["mass"]), limit),
        "profile": plots.decorrelation_profile_figure(profiles),
        "efficiency": plots.efficiency_comparison_figure(efficiencies[0], efficiencies[1]),
    }


@pytest.fixture(scope="module")
def figures(filled: dict[str, Hist[Any]]) -> dict[str, Figure]:
    return drawn(filled)


def empty(axes: Axes) -> bool:
    return any(text.get_text() == "No entries" for text in axes.texts)


@pytest.mark.parametrize("name", ["paths", "curves", "profile", "efficiency"])
def test_axes_are_labelled_panels_filled_and_texts_apart(
    name: str, figures: dict[str, Figure]
) -> None:
    figure = figures[name]
    (legend,) = figure.legends
    with plots.style():  # outside, texts have the sizes of another font
        figure.draw_without_rendering()
        beside = legend.get_window_extent()
        boxes = [[t.get_window_extent() for t in a.texts if t.get_text()] for a in figure.axes]
    assert beside.x1 <= figure.bbox.x1
    for axes, texts in zip(figure.axes, boxes, strict=True):
        spec = axes.get_subplotspec()
        assert spec is not None
        assert axes.get_xlabel() or not spec.is_last_row()
        assert axes.get_ylabel()
        assert axes.has_data()
        assert not empty(axes)
        assert not beside.overlaps(axes.bbox)
        assert not any(one.overlaps(other) for one, other in itertools.combinations(texts, 2))


def test_histograms_without_entries_say_so(filled: dict[str, Hist[Any]]) -> None:
    nothing = {name: histogram.copy().reset() for name, histogram in filled.items()}
    for name, figure in drawn(nothing).items():
        assert all(empty(axes) for axes in figure.axes), name


def test_strengths_stand_at_the_ends_of_their_paths(figures: dict[str, Figure]) -> None:
    (axes,) = figures["paths"].axes
    texts = sorted(text.get_text() for text in axes.texts if text.get_text().isdigit())
    assert texts == ["1", "1", "1", "100", "100", "100"]
    joined = [np.size(line.get_xdata()) for line in axes.lines if line.get_linestyle() == "-"]
    assert joined.count(3) == 3
    labels = [text.get_text() for text in figures["paths"].legends[0].get_texts()]
    assert labels[:5] == ["Plain", "DisCo", "MoDe[0]", "Adversary", "Adversary, again"]


def test_texts_keep_off_the_points(figures: dict[str, Figure]) -> None:
    figure = figures["paths"]
    with plots.style():
        figure.draw_without_rendering()
    (axes,) = figure.axes
    points = np.concatenate(
        [
            axes.transData.transform(np.column_stack([line.get_xdata(), line.get_ydata()]))
            for line in axes.lines
            if line.get_marker() not in ("None", "", None)
        ]
    )
    with plots.style():
        digits = [t.get_window_extent() for t in axes.texts if t.get_text().isdigit()]
    assert len(digits) == 6
    assert not any(box.contains(x, y) for box in digits for x, y in points)


def test_more_methods_than_colours_still_look_different() -> None:
    found = looks([f"method {n}" for n in range(30)])
    assert len({(look.colour, look.marker) for look in found.values()}) == 30
