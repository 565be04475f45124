"""Figures of what a cut on the score does to the background mass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.ticker import FuncFormatter, NullFormatter

from hepcalib.plots.drawing import (
    canvas,
    headroom,
    no_entries,
    points,
    reference_line,
    stamp,
    steps,
    variable_x,
)
from hepcalib.plots.style import Look, looks, style

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from hepcalib.metrics import Decorrelation, MassSplit

__all__ = ["decorrelation_figure", "mass_sculpting_figure"]

_PASS, _FAIL = Look("Pass", "#d55e00", "o"), Look("Fail", "#0072b2", "s")


def mass_sculpting_figure(results: Mapping[str, MassSplit], *, label: str = "Simulation") -> Figure:
    """Draw the background mass before the cut and of what passes and fails, with their ratios.

    Args:
        results: Tagger -> what `metrics.mass_split` found.
        label: Kind of sample, written behind the name of the package.
    """
    with style():
        columns = max(len(results), 1)
        figure, grid = canvas(2, columns, heights=(2.6, 1.2), sharex="col", sharey="row")
        if not results:
            no_entries(grid[0, 0])
        for (main, ratio), (tagger, found) in zip(grid.T, results.items(), strict=False):
            if _masses(main, ratio, found):
                title = rf"$\epsilon_\mathrm{{S}}$ = {100.0 * found.signal_efficiency:g} %, "
                title += rf"$\epsilon_\mathrm{{B}}$ = {100.0 * found.background_efficiency:.2g} %"
                main.legend(loc="upper right", title=title, alignment="left")
            else:
                no_entries(main)
                no_entries(ratio)
            variable_x(ratio, "mass", found.edges)
            stamp(main, label, right=looks([tagger])[tagger].label)
        main, ratio = grid[:, 0]
        main.set_ylim(bottom=0.0)
        headroom(main, 0.15)
        main.set_ylabel("Fraction of background jets / GeV")
        ratio.set_ylabel("Ratio to all")
        low, high = ratio.get_ylim()
        ratio.set_ylim(max(low, 0.0), min(high, 5.0))
        figure.align_ylabels()
    return figure


def _masses(main: Axes, ratio: Axes, found: MassSplit) -> bool:
    """Draw one tagger; say whether there was anything."""
    drawn = steps(
        main,
        found.edges,
        found.inclusive,
        found.inclusive_error,
        fill=True,
        color="#d0d0d0",
        label="All background",
    )
    at = (found.edges, found.centres)
    drawn &= points(main, at, found.passed, found.passed_error, look=_PASS)
    drawn &= points(main, at, found.failed, found.failed_error, look=_FAIL)
    reference_line(ratio, 1.0)
    points(ratio, at, found.passed_ratio, found.passed_ratio_error, look=_PASS)
    points(ratio, at, found.failed_ratio, found.failed_ratio_error, look=_FAIL)
    return drawn


def decorrelation_figure(
    results: Mapping[str, Decorrelation], *, label: str = "Simulation"
) -> Figure:
    """Draw background rejection against decorrelation, with the limit that statistics set.

    Args:
        results: Tagger -> what `metrics.decorrelation` found, all at one signal efficiency.
        label: Kind of sample, written behind the name of the package.
    """
    with style():
        figure, grid = canvas()
        axes = grid[0, 0]
        shown = {
            tagger: found
            for tagger, found in results.items()
            if np.isfinite([found.rejection.rejection, found.jsd.one_over]).all()
        }
        for tagger, look in looks(shown).items():
            _place(axes, shown[tagger], look)
        efficiency = 50.0
        for found in shown.values():
            efficiency = 100.0 * found.rejection.signal_efficiency
        axes.set_xlabel(rf"Background rejection $R_{{{efficiency:g}}}$")
        axes.set_ylabel(r"Decorrelation 1 / JSD [1/bit]")
        if shown:
            _regions(axes, shown)
            handles, names = axes.get_legend_handles_labels()
            axes.legend([*handles[1:], handles[0]], [*names[1:], names[0]], loc="upper right")
        else:
            no_entries(axes)
        stamp(axes, label)
    return figure


def _place(axes: Axes, found: Decorrelation, look: Look) -> None:
    """Draw one tagger as a point, and the limit of its sample straight above."""
    x, y, limit = found.rejection.rejection, found.jsd.one_over, found.jsd.one_over_limit
    axes.errorbar(
        x,
        y,
        xerr=np.nan_to_num(found.rejection.rejection_error),
        yerr=min(np.nan_to_num(found.jsd.one_over_error), 0.9 * y),
        color=look.colour,
        marker=look.marker,
        markersize=8,
        linestyle="none",
        label=look.label,
    )
    axes.plot([x, x], [y, limit], color=look.colour, linestyle=":", linewidth=1.0)
    axes.plot(x, limit, marker="_", color=look.colour, markersize=16, markeredgewidth=2)


def _regions(axes: Axes, shown: Mapping[str, Decorrelation]) -> None:
    """Set the ranges and shade where a tagger does not separate or sculpts maximally."""
    high_x = 4.0 * max(2.5, *(found.rejection.rejection for found in shown.values()))
    tops = [max(found.jsd.one_over, found.jsd.one_over_limit) for found in shown.values()]
    axes.set(xscale="log", yscale="log", xlim=(1.0, high_x), ylim=(0.3, 30.0 * max(tops)))
    grey: dict[str, Any] = {"color": "#e4e4e4", "zorder": 0, "linewidth": 0.0}
    axes.axvspan(1.0, 2.0, **grey)
    axes.axhspan(0.3, 1.0, **grey)
    axes.text(1.42, 1.5, "No separation", rotation=90, ha="center", va="bottom", color="#666666")
    axes.text(2.3, 0.55, "Maximal sculpting", ha="left", va="center", color="#666666")
    axes.plot([], [], "_", color="black", markersize=16, markeredgewidth=2, label="Limit of sample")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
