from __future__ import annotations

import numpy as np
import pytest

from hepcalib.hists import VARIABLES
from hepcalib.plots.drawing import canvas, headroom, log_x, points, steps, variable_x
from hepcalib.plots.style import Look

LOOK = Look("Calibrated", "#d55e00", "o")


def test_points_leave_out_nan_and_reach_over_the_bin() -> None:
    axes = canvas()[1][0, 0]
    edges, y = np.array([1.0, 4.0, 9.0]), np.array([np.nan, 0.5])
    assert points(axes, (edges, np.array([2.0, 6.0])), y, np.array([0.1, 0.1]), look=LOOK)
    line, _, bars = axes.containers[0]
    assert line.get_xdata().tolist() == [6.0]
    assert bars[0].get_segments()[0][:, 0].tolist() == [4.0, 9.0]


def test_nothing_to_draw_is_reported() -> None:
    axes = canvas()[1][0, 0]
    edges, nothing = np.array([0.0, 1.0]), np.array([np.nan])
    assert not points(axes, (edges, np.array([0.5])), nothing, nothing, look=LOOK)
    assert not steps(axes, edges, nothing, nothing)
    assert not axes.containers


@pytest.mark.parametrize(
    ("variable", "edges", "expected"),
    [("true_energy", [0.3, 1.0, 10.0], "log"), ("mu", [0.0, 40.0, 80.0], "linear")],
)
def test_variables_choose_the_scale_of_x(variable: str, edges: list[float], expected: str) -> None:
    axes = canvas()[1][0, 0]
    variable_x(axes, variable, np.array(edges))
    assert axes.get_xscale() == expected
    assert axes.get_xlim() == (edges[0], edges[-1])
    assert axes.get_xlabel()


def test_x_covers_what_is_shown() -> None:
    axes = canvas()[1][0, 0]
    shown = [np.array([np.nan, 1.0, np.nan]), np.array([np.nan, np.nan, 1.0])]
    variable_x(axes, "mu", np.array([0.0, 10.0, 20.0, 30.0]), shown=shown)
    assert axes.get_xlim() == (10.0, 30.0)


def labels_of_log_x(low: float, high: float) -> list[str]:
    figure, grid = canvas()
    log_x(grid[0, 0], low, high)
    figure.draw_without_rendering()
    labels = grid[0, 0].get_xticklabels()
    return [one.get_text() for one in labels if low <= one.get_position()[0] <= high]


@pytest.mark.parametrize(
    ("high", "expected"), [(1000.0, ["10", "20", "50"]), (100_000.0, ["10", "100", "1000"])]
)
def test_logarithmic_ticks_are_plain_numbers(high: float, expected: list[str]) -> None:
    assert labels_of_log_x(10.0, high)[:3] == expected


@pytest.mark.parametrize(
    ("low", "expected"),
    [
        (2e5, ["200000", "500000", "$10^{6}$", r"$2 \times 10^{6}$"]),
        (2e-5, [r"$2 \times 10^{-5}$", r"$5 \times 10^{-5}$", "0.0001", "0.0002"]),
    ],
)
def test_long_numbers_at_logarithmic_ticks_are_powers_of_ten(
    low: float, expected: list[str]
) -> None:
    assert labels_of_log_x(0.9 * low, 12.0 * low) == expected


@pytest.mark.parametrize(("scale", "expected"), [("linear", 199.0), ("log", 1e4)])
def test_headroom_is_a_share_of_the_height(scale: str, expected: float) -> None:
    axes = canvas()[1][0, 0]
    axes.set_yscale(scale)
    axes.set_ylim(1.0, 100.0)
    headroom(axes, 0.5)
    assert axes.get_ylim() == pytest.approx((1.0, expected))


def test_bins_that_are_categories_have_their_names_as_ticks() -> None:
    _, grid = canvas()
    flavour = VARIABLES["flavour"]
    axes, edges = grid[0, 0], np.array(flavour.edges)
    shown = np.where(edges[1:] < 5.0, 1.0, np.nan)
    variable_x(axes, "flavour", edges, shown=[shown])
    assert [tick.get_text() for tick in axes.get_xticklabels()] == list(flavour.names)
    assert axes.get_xticks().tolist() == list(range(7))
    assert axes.get_xlim() == (-0.5, 4.5)
    assert len(axes.get_xticks(minor=True)) == 0
