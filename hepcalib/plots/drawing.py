"""The pieces that figures are drawn from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from hepcalib.hists import VARIABLES
from hepcalib.plots.style import looks

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from numpy.typing import NDArray

    from hepcalib.metrics.counts import Floats
    from hepcalib.plots.style import Look

__all__ = [
    "against_variable",
    "canvas",
    "covered",
    "headroom",
    "legend_above",
    "legend_or_note",
    "log_x",
    "no_entries",
    "plain_ticks",
    "points",
    "reference_line",
    "stamp",
    "steps",
    "variable_x",
]


class Profile(Protocol):
    """A result in bins of a variable."""

    @property
    def variable(self) -> str:
        """Name of the variable."""

    @property
    def edges(self) -> Floats:
        """Its bins (bins + 1,)."""

    @property
    def centres(self) -> Floats:
        """Where the points stand (bins,)."""


Result = TypeVar("Result", bound=Profile)


def canvas(
    rows: int = 1, columns: int = 1, *, heights: Sequence[float] | None = None, **settings: Any
) -> tuple[Figure, NDArray[Any]]:
    """Return a figure outside pyplot's registry, and its axes (rows, columns)."""
    width, height = mpl.rcParams["figure.figsize"]
    figure = Figure(figsize=(width * (0.25 + 0.75 * columns), height * (0.8 + 0.2 * rows)))
    ratios = None if heights is None else list(heights)
    grid = figure.subplots(rows, columns, squeeze=False, height_ratios=ratios, **settings)
    return figure, np.asarray(grid)


def stamp(axes: Axes, label: str, *, right: str = "") -> None:
    """Write the package and the kind of sample above the axes at the left, text at the right."""
    above: dict[str, Any] = {
        "xycoords": "axes fraction",
        "textcoords": "offset points",
        "va": "bottom",
    }
    size = mpl.rcParams["font.size"]
    name = axes.annotate(
        "hepcalib", (0.0, 1.0), (0.0, 3.0), weight="bold", fontsize=size + 2, **above
    )
    beside = {**above, "xycoords": name}
    axes.annotate(label, (1.0, 0.0), (5.0, 0.5), style="italic", fontsize=size, **beside)
    axes.annotate(right, (1.0, 1.0), (0.0, 3.0), ha="right", fontsize=size, **above)


def points(axes: Axes, at: tuple[Floats, Floats], y: Floats, error: Floats, *, look: Look) -> bool:
    """Draw bins as points with the bin as horizontal error bar; say whether there is one.

    Args:
        axes: Where to draw.
        at: Edges (bins + 1,) and centres (bins,).
        y: Values (bins,); NaN is left out.
        error: Their errors (bins,).
        look: How.
    """
    edges, centres = at
    shown = np.isfinite(y)
    if not shown.any():
        return False
    sides = np.stack([centres - edges[:-1], edges[1:] - centres])[:, shown]
    axes.errorbar(
        centres[shown],
        y[shown],
        xerr=sides,
        yerr=np.nan_to_num(error[shown]),
        label=look.label,
        color=look.colour,
        marker=look.marker,
        linestyle="none",
        elinewidth=1.3,
    )
    return True


def against_variable(
    axes: Axes,
    results: Mapping[str, Result],
    values: Callable[[Result], tuple[Floats, Floats]],
) -> bool:
    """Draw a value of each result against their common variable; say whether there is a point.

    Args:
        axes: Where to draw.
        results: Name -> a result with a variable, its edges and centres.
        values: Returns values and errors (bins,) of a result.
    """
    drawn = False
    for name, look in looks(results).items():
        found = results[name]
        drawn |= points(axes, (found.edges, found.centres), *values(found), look=look)
    for found in list(results.values())[:1]:
        shown = [values(result)[0] for result in results.values()]
        variable_x(axes, found.variable, found.edges, shown=shown)
    return drawn


def steps(axes: Axes, edges: Floats, y: Floats, error: Floats, **settings: Any) -> bool:
    """Draw a histogram as a line with a band of one standard error; say whether there is one."""
    if not np.any(y > 0.0):
        return False
    filled = settings.pop("fill", False)
    line = axes.stairs(y, edges, fill=filled, **settings)
    if not filled:
        colour = line.get_edgecolor()
        axes.stairs(
            y + error, edges, baseline=y - error, fill=True, color=colour, alpha=0.25, linewidth=0.0
        )
    return True


def variable_x(axes: Axes, variable: str, edges: Floats, *, shown: Sequence[Floats] = ()) -> None:
    """Label x with one of the variables of the histograms, and set its range.

    Args:
        axes: Where to draw.
        variable: Name of the variable.
        edges: Its bins (bins + 1,).
        shown: Values (bins,); the range covers the bins where one is finite, or all if none is.
    """
    low, high = covered(edges, shown)
    known = VARIABLES.get(variable)
    axes.set_xlabel(known.label if known else variable)
    if known and known.spacing == "log":
        log_x(axes, low, high)
        return
    if known and known.names:
        axes.set_xticks(0.5 * (edges[1:] + edges[:-1]), known.names)
        axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlim(low, high)


def covered(edges: Floats, shown: Sequence[Floats]) -> tuple[float, float]:
    """Return the range of the bins where one of the values is finite, of all bins if none is."""
    filled = np.flatnonzero(np.isfinite(shown).any(axis=0)) if len(shown) else np.empty(0, int)
    first, last = (filled[0], filled[-1] + 1) if filled.size else (0, -1)
    return float(edges[first]), float(edges[last])


def log_x(axes: Axes, low: float, high: float) -> None:
    """Make x logarithmic with plain numbers at its ticks, powers of ten where they are long."""
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    plain_ticks(axes.xaxis, high / low)


def plain_ticks(axis: Axis, ratio: float) -> None:
    """Label a logarithmic axis over this ratio with 1, 10, 100, or 20, 50, 100 if it is short."""
    multiples = (1.0,) if np.log10(ratio) > 2.0 else (1.0, 2.0, 5.0)
    axis.set_major_locator(LogLocator(subs=multiples))
    axis.set_major_formatter(FuncFormatter(_number))
    axis.set_minor_formatter(NullFormatter())


def _number(value: float, _: int | None = None) -> str:
    """Return 20, 0.5 or 20000 as they are, very large and small ones as powers of ten."""
    digits, _e, power = f"{value:g}".partition("e")
    if not power:
        return digits
    factor = "" if digits == "1" else rf"{digits} \times "
    return f"${factor}10^{{{int(power)}}}$"


def reference_line(axes: Axes, y: float) -> None:
    """Draw the horizontal line that the best result would lie on."""
    axes.axhline(y, color="grey", linewidth=1.0, linestyle="--", zorder=0)


def headroom(axes: Axes, fraction: float) -> None:
    """Raise the upper end of y, so that this fraction of the height is free for a legend."""
    low, high = axes.get_ylim()
    if axes.get_yscale() == "log":
        axes.set_ylim(low, low * (high / low) ** (1.0 / (1.0 - fraction)))
    else:
        axes.set_ylim(low, low + (high - low) / (1.0 - fraction))


def legend_above(axes: Axes, *, columns: int = 2, least: float = 0.22) -> None:
    """Draw the legend over the data, with as much room above them as its rows need.

    Args:
        axes: Axes whose lines have labels.
        columns: Columns of the legend.
        least: Smallest share of the height to keep free.
    """
    rows = -(-len(axes.get_legend_handles_labels()[1]) // columns)
    headroom(axes, max(least, 0.04 + 0.056 * rows))
    axes.legend(ncols=columns, loc="upper right")


def legend_or_note(axes: Axes, drawn: bool, *, least: float = 0.22) -> None:
    """Draw the legend over the data, or say that there is nothing to show."""
    if drawn:
        legend_above(axes, least=least)
    else:
        no_entries(axes)


def no_entries(axes: Axes) -> None:
    """Say in the middle of the axes that there is nothing to show."""
    axes.text(0.5, 0.5, "No entries", transform=axes.transAxes, ha="center", va="center")
