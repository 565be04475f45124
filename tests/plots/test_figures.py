"""What holds for every figure: labelled axes, no empty panel, the state of matplotlib untouched."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
import pytest

from hepcalib import hists, metrics, plots

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hist import Hist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HERE = Path(__file__).parent
EPOCH = {"train_nll": 1.0, "validation_nll": 1.1, "regulariser": 0.2, "penalty": 0.0}
NAMES = (
    "decorrelation",
    "efficiency",
    "history",
    "linearity",
    "mass_sculpting",
    "pull",
    "resolution",
    "roc",
    "score",
    "spectrum",
    "uncertainty",
    "uncertainty_rapidity",
)


def draw(name: str, filled: Mapping[str, Hist[Any]]) -> Figure:
    score = filled["scores"]
    results: dict[str, Any] = {
        "decorrelation": lambda: metrics.decorrelation(score),
        "efficiency": lambda: metrics.efficiency_profile(score),
        "history": lambda: [{"epoch": n, **EPOCH} for n in (1.0, 2.0) if score.values().any()],
        "linearity": lambda: metrics.linearity(filled["responses"]),
        "mass_sculpting": lambda: metrics.mass_split(score),
        "pull": lambda: metrics.pulls(filled["pull"]),
        "resolution": lambda: metrics.resolution(filled["responses"]),
        "roc": lambda: metrics.roc(score),
        "score": lambda: metrics.score_distribution(score),
        "spectrum": lambda: metrics.spectra(filled["spectrum"], reference="True"),
        "uncertainty": lambda: metrics.uncertainty_spectrum(filled["uncertainty"]),
        "uncertainty_rapidity": lambda: filled["slices"],
    }
    figure: Figure = getattr(plots, f"{name}_figure")(results[name]())
    return figure


@pytest.fixture(scope="module")
def filled(
    responses: Hist[Any],
    spectrum: Hist[Any],
    pull: Hist[Any],
    uncertainty: Hist[Any],
    scores: Hist[Any],
) -> dict[str, Hist[Any]]:
    slices = hists.uncertainty_rapidity()
    hists.fill_uncertainty_rapidity(slices, rapidity=[0.1, 1.3], uncertainty=[0.1, 0.6])
    return {
        "responses": responses,
        "spectrum": spectrum,
        "pull": pull,
        "uncertainty": uncertainty,
        "scores": scores,
        "slices": slices,
    }


def panels(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]


def says_nothing(axes: Axes) -> bool:
    return any(text.get_text() == "No entries" for text in axes.texts)


def test_every_figure_is_tested() -> None:
    exported = {name.removesuffix("_figure") for name in plots.__all__ if name.endswith("_figure")}
    tests = "".join(path.read_text(encoding="utf-8") for path in HERE.glob("test_*.py"))
    assert set(NAMES) <= exported
    assert all(f"plots.{name}_figure(" in tests for name in exported - set(NAMES))


@pytest.mark.parametrize("name", NAMES)
def test_axes_are_labelled_panels_filled_and_texts_apart(
    name: str, filled: dict[str, Hist[Any]]
) -> None:
    figure = draw(name, filled)
    with plots.style():
        figure.draw_without_rendering()
    for axes in panels(figure):
        spec = axes.get_subplotspec()
        assert spec is not None
        assert axes.get_xlabel() or not spec.is_last_row()
        assert axes.get_ylabel() or not spec.is_first_col()
        assert axes.has_data()
        assert not says_nothing(axes)
        legend = axes.get_legend()
        boxes = [text.get_window_extent() for text in axes.texts if text.get_text()]
        boxes += [legend.get_window_extent()] if legend else []
        for place, box in enumerate(boxes):
            assert not any(box.overlaps(other) for other in boxes[place + 1 :])


@pytest.mark.parametrize("name", NAMES)
def test_histograms_without_entries_say_so(name: str, filled: dict[str, Hist[Any]]) -> None:
    empty = {key: histogram.copy().reset() for key, histogram in filled.items()}
    assert all(says_nothing(axes) for axes in panels(draw(name, empty)))


def test_drawing_leaves_no_trace_in_matplotlib(filled: dict[str, Hist[Any]]) -> None:
    before = dict(mpl.rcParams)
    open_figures = plt.get_fignums()
    draw("linearity", filled)
    assert dict(mpl.rcParams) == before
    assert plt.get_fignums() == open_figures


def test_figures_without_any_result_can_be_drawn() -> None:
    for figure in (
        plots.linearity_figure({}),
        plots.roc_figure({}),
        plots.efficiency_figure({}),
        plots.score_figure({}),
        plots.mass_sculpting_figure({}),
    ):
        assert says_nothing(figure.axes[0])


@pytest.mark.parametrize("name", ["linearity", "uncertainty_rapidity"])
def test_saved_figures_are_the_same_bytes_again(
    name: str, filled: dict[str, Hist[Any]], tmp_path: Path
) -> None:
    figures = [draw(name, filled) for _ in range(2)]
    first = plots.save(figures[0], tmp_path / "deep" / "first")
    second = plots.save(figures[1], tmp_path / "second.v2")
    assert [path.name for path in first] == ["first.png", "first.pdf"]
    assert [path.name for path in second] == ["second.v2.png", "second.v2.pdf"]
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
    assert not figures[0].axes


def test_the_later_epochs_decide_on_the_range_of_a_training() -> None:
    nll = [110.0, 3.0, *np.linspace(-1.0, -2.0, 8)]
    history = [
        {**EPOCH, "epoch": n, "train_nll": y, "validation_nll": y} for n, y in enumerate(nll)
    ]
    low, high = plots.history_figure(history).axes[0].get_ylim()
    assert low < min(nll)
    assert max(nll[2:]) < high < 3.0
    one = plots.history_figure(history[:1]).axes[0].get_ylim()
    assert one[0] < 110.0 < one[1]


def test_a_single_bad_step_does_not_hide_a_training() -> None:
    nll = [*np.linspace(-1.0, -2.0, 10)]
    history = [
        {**EPOCH, "epoch": n, "train_nll": y, "validation_nll": y - 0.1} for n, y in enumerate(nll)
    ]
    expected = plots.history_figure(history).axes[0].get_ylim()
    assert expected[1] > max(nll[2:])
    history[8] = {**history[8], "train_nll": 1e6}
    assert plots.history_figure(history).axes[0].get_ylim() == pytest.approx(expected, abs=0.01)
    broad = [{**epoch, "train_nll": epoch["validation_nll"] + 2.0} for epoch in history]
    assert plots.history_figure(broad).axes[0].get_ylim()[1] > 0.0  # one that is always above stays


def test_saved_figures_are_sharp_enough_for_a_slide(tmp_path: Path) -> None:
    png, pdf = plots.save(plots.history_figure([]), tmp_path / "figure")
    height, width = np.asarray(plt.imread(png)).shape[:2]
    assert (width, height) == (1050, 787)
    assert pdf.read_bytes().startswith(b"%PDF")
