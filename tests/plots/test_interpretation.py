from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from hepcalib import plots
from hepcalib.interpretation import AttentionProfile, Filters, Importance, NeighbourDistances

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

AT = np.linspace(-0.8, 0.8, 21)


def filters(count: int = 4) -> Filters:
    y, phi = np.meshgrid(AT, AT, indexing="ij")
    values = np.stack([(y * n - phi).clip(min=0.0) for n in range(count)])
    return Filters(AT, AT, values, tuple(range(count)), 2)


def importance(auc: float = 0.9) -> Importance:
    changes = np.array([0.1, 0.0, 0.3])
    return Importance(
        ("jet.eta", "jet.mu", "constituent.log_pt"), 0.4, changes, changes, auc, changes, changes, 5
    )


def profile() -> AttentionProfile:
    by_rank, edges = np.array([2.0, 1.0, np.nan]), np.array([0.0, 0.1, 0.2])
    return AttentionProfile(np.arange(1, 4), by_rank, by_rank, edges, edges[1:], edges[1:], 10)


def assert_complete(figure: Figure) -> None:
    with plots.style():
        figure.draw_without_rendering()
    for axes in figure.axes:
        assert axes.get_xlabel()
        assert axes.has_data()
        assert not empty(axes)
    assert figure.axes[0].get_ylabel()


def empty(axes: Axes) -> bool:
    return any(text.get_text() == "No entries" for text in axes.texts)


def test_filters_are_contours_and_constant_ones_are_left_out() -> None:
    figure = plots.filters_figure(filters())
    assert_complete(figure)
    assert len(figure.axes[0].collections) == 4
    constant = filters()._replace(values=np.ones((2, 21, 21)))
    assert empty(plots.filters_figure(constant).axes[0])
    nothing = filters()._replace(values=np.empty((0, 21, 21)))
    assert empty(plots.filters_figure(nothing).axes[0])


@pytest.mark.parametrize(("auc", "panels"), [(0.9, 2), (np.nan, 1)])
def test_importance_is_sorted(auc: float, panels: int) -> None:
    figure = plots.importance_figure(importance(auc))
    assert_complete(figure)
    assert len(figure.axes) == panels
    names = [text.get_text() for text in figure.axes[0].get_yticklabels()]
    assert names == ["jet.mu", "jet.eta", "constituent.log_pt"]


def test_attention_and_neighbours_of_several_models() -> None:
    distances = NeighbourDistances(np.array([0.1, 0.2]), np.array([0.01, 0.01]), 10)
    assert_complete(plots.attention_figure({"GN2": profile(), "ParT": profile()}))
    assert_complete(plots.neighbours_figure({"ParticleNet": distances}))


def test_without_results_the_figures_say_so() -> None:
    for figure in (plots.attention_figure({}), plots.neighbours_figure({})):
        assert all(empty(axes) for axes in figure.axes)
