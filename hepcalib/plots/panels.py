"""Grids of equal panels, and densities in two dimensions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import LogLocator, NullFormatter

from hepcalib.plots.drawing import log_x, plain_ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from hepcalib.metrics.counts import Floats

__all__ = ["SMALL", "log_y", "mesh", "panels", "scale_x", "with_error"]

SMALL: dict[Any, Any] = {"axes.labelsize": 13, "legend.fontsize": 10, "lines.markersize": 4.0}
"""Settings of figures with many panels."""


def panels(
    count: int, *, columns: int, size: tuple[float, float] = (4.4, 3.5), **settings: Any
) -> tuple[Figure, list[Axes]]:
    """Return a figure outside pyplot's registry with so many axes, at least one, row by row."""
    shown = max(count, 1)
    columns = min(columns, shown)
    rows = -(-shown // columns)
    figure = Figure(figsize=(size[0] * columns, size[1] * rows))
    engine = figure.get_layout_engine()
    if isinstance(engine, ConstrainedLayoutEngine):
        engine.set(w_pad=0.08, h_pad=0.06)  # inches, so that numbers of neighbours stay apart
    grid = figure.subplots(rows, columns, squeeze=False, **settings)
    axes = list(np.asarray(grid).flat)
    for unused in axes[shown:]:
        unused.remove()
    return figure, axes[:shown]


def scale_x(axes: Axes, spacing: str, low: float, high: float) -> None:
    """Set the range of x, linear or log with plain numbers or, over many decades, powers."""
    if spacing == "log" and (low < 1e-3 or high / low > 1e6):
        axes.set_xscale("log")
        axes.set_xlim(low, high)
        axes.xaxis.set_major_locator(LogLocator(numticks=5))
        axes.xaxis.set_minor_formatter(NullFormatter())
    elif spacing == "log":
        log_x(axes, low, high)
    else:
        axes.set_xlim(low, high)


def log_y(axes: Axes, low: float, high: float) -> None:
    """Make y logarithmic with plain numbers at its ticks."""
    axes.set_yscale("log")
    axes.set_ylim(low, high)
    plain_ticks(axes.yaxis, high / low)


def mesh(axes: Axes, x: Floats, y: Floats, values: Floats) -> Any:
    """Draw entries (bins of x, bins of y) in a logarithmic colour scale; None without any."""
    positive = np.ma.masked_less_equal(values, 0.0)
    if not positive.count():
        return None
    norm = LogNorm(float(positive.min()), max(float(positive.max()), 1.01 * float(positive.min())))
    return axes.pcolormesh(x, y, positive.T, norm=norm, cmap="viridis", rasterized=True)


def with_error(value: float, error: float) -> str:
    """Return a value and its error, to the first digit of the error."""
    digits = 3
    if np.isfinite(error) and error > 0.0:
        digits = int(np.clip(np.ceil(-np.log10(error)), 0, 6))
    text = f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")
    return rf"{text} $\pm$ {error:.{digits}f}"
