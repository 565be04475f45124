from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from hepcalib import plots
from hepcalib.metrics.closure import Closure, closure, shift

if TYPE_CHECKING:
    from typing import Literal

EDGES = np.array([1.0, 10.0, 100.0])


def found(
    bias: float, *, binned_in: Literal["truth", "reco"] = "truth", rows: int = 500
) -> Closure:
    random = np.random.default_rng(1)
    true = 10.0 ** random.uniform(0.0, 2.0, rows)
    calibrated = bias * true * np.exp(0.2 * random.normal(size=rows))
    return closure(true, calibrated, edges=EDGES, binned_in=binned_in)


def test_a_line_for_each_method_and_each_shift() -> None:
    results = {"MSE": found(0.9), "Flow": found(1.0)}
    moved = {"MSE": shift(found(0.9), found(0.95))}
    figure = plots.closure_figure(results, moved, shifted="training spectrum")
    main, below = figure.axes
    legend = main.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == ["MSE", "Flow"]
    assert len(main.containers) == 2
    assert len(below.containers) == 1
    drawn: Any = below.containers[0]
    values = drawn.lines[0].get_ydata()
    np.testing.assert_allclose(values, 100.0 * moved["MSE"].shift)
    assert below.get_title(loc="right") == "with the training spectrum"
    assert main.get_ylabel().startswith("Median of")


@pytest.mark.parametrize(
    ("binned_in", "label", "variable"),
    [("truth", "Truth-binned", "dep"), ("reco", "Reco-binned", "cal")],
)
def test_the_binning_is_named(
    binned_in: Literal["truth", "reco"], label: str, variable: str
) -> None:
    figure = plots.closure_figure({"A": found(1.0, binned_in=binned_in)}, {}, statistic="mode")
    main, below = figure.axes
    assert label in [text.get_text() for text in main.texts]
    assert variable in below.get_xlabel()
    assert main.get_ylabel().startswith("Mode of")


def test_nothing_to_show_is_said() -> None:
    for results in ({}, {"A": found(1.0, rows=4)}):
        figure = plots.closure_figure(results, {})
        for axes in figure.axes:
            assert "No entries" in [text.get_text() for text in axes.texts]
