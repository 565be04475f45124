from __future__ import annotations

import numpy as np
import pytest

from hepcalib import plots
from hepcalib.plots.panels import log_y, mesh, panels, scale_x, with_error


@pytest.mark.parametrize(("count", "rows", "columns"), [(0, 1, 1), (2, 1, 2), (3, 1, 3), (7, 3, 3)])
def test_panels_fill_rows_and_unused_ones_are_gone(count: int, rows: int, columns: int) -> None:
    with plots.style():
        figure, grid = panels(count, columns=3, size=(2.0, 1.5))
    assert len(grid) == len(figure.axes) == max(count, 1)
    assert figure.get_size_inches().tolist() == [2.0 * columns, 1.5 * rows]


@pytest.mark.parametrize(
    ("value", "error", "expected"),
    [
        (-0.4472, 0.0061, "\N{MINUS SIGN}0.447 $\\pm$ 0.006"),
        (0.98931, 0.00012, "0.9893 $\\pm$ 0.0001"),
        (12.34, 3.4, "12 $\\pm$ 3"),
        (0.5, 0.0, "0.500 $\\pm$ 0.000"),
        (np.nan, np.nan, "nan $\\pm$ nan"),
    ],
)
def test_values_are_written_to_the_digit_of_the_error(
    value: float, error: float, expected: str
) -> None:
    assert with_error(value, error) == expected


def test_many_decades_have_powers_at_the_ticks_and_few_have_numbers() -> None:
    _, (axes,) = panels(1, columns=1)
    scale_x(axes, "log", 1e-12, 1e4)
    assert axes.get_xscale() == "log"
    assert "10^" in axes.xaxis.get_major_formatter()(1.0)
    scale_x(axes, "log", 0.1, 1e3)
    assert axes.xaxis.get_major_formatter()(100.0) == "100"
    log_y(axes, 0.01, 1.0)
    assert axes.yaxis.get_major_formatter()(0.05) == "0.05"


def test_linear_axes_stay_linear() -> None:
    _, (axes,) = panels(1, columns=1)
    scale_x(axes, "linear", -1.0, 1.0)
    assert (axes.get_xscale(), axes.get_xlim()) == ("linear", (-1.0, 1.0))


def test_a_density_without_entries_is_not_drawn() -> None:
    _, (axes,) = panels(1, columns=1)
    edges = np.array([0.0, 1.0, 2.0])
    assert mesh(axes, edges, edges, np.zeros((2, 2))) is None
    assert mesh(axes, edges, edges, np.eye(2)) is not None
    assert mesh(axes, edges, edges, -np.eye(2)) is None
