"""Figures of one quantity against another: the joint distribution and the median."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.patheffects import withStroke

from hepcalib.plots.drawing import canvas, covered, no_entries, stamp
from hepcalib.plots.panels import SMALL, log_y, mesh, panels, scale_x, with_error
from hepcalib.plots.style import looks, style

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from hepcalib.metrics import Agreement, Profile

__all__ = ["agreement_figure", "profile_figure", "profiles_figure"]

_LINE = "#ff3b00"
_OUTLINED = [withStroke(linewidth=3.0, foreground="white")]


def profile_figure(
    result: Profile, *, reference: float | None = None, label: str = "Simulation"
) -> Figure:
    """Draw the joint distribution of two quantities with the median and the central 68 %.

    Args:
        result: What `metrics.profile` found.
        reference: Where the best result would lie.
        label: Kind of sample, written behind the name of the package.
    """
    with style():
        figure, grid = canvas()
        axes = grid[0, 0]
        drawn = _profile(axes, result, reference)
        if drawn is None:
            no_entries(axes)
        else:
            figure.colorbar(drawn, ax=axes, label="Objects", pad=0.02)
            axes.legend(loc="upper right", framealpha=0.85, frameon=True, facecolor="white")
        stamp(axes, label)
    return figure


def profiles_figure(
    results: Mapping[str, Profile],
    *,
    reference: float | None = None,
    label: str = "Simulation",
    method: str = "",
) -> Figure:
    """Draw a quantity against each feature: joint distribution, median and central 68 %.

    Args:
        results: Feature -> what `metrics.profile` found, all of the same quantity.
        reference: Where the best result would lie.
        label: Kind of sample, written behind the name of the package.
        method: Whose results these are, written at the right.
    """
    with style(), mpl.rc_context(SMALL):
        figure, grid = panels(len(results), columns=4, sharey=True)
        if not results:
            no_entries(grid[0])
        for axes, result in zip(grid, results.values(), strict=False):
            drawn = _profile(axes, result, reference)
            if drawn is None:
                no_entries(axes)
            place = axes.get_subplotspec()
            if place is not None and not place.is_first_col():
                axes.set_ylabel("")
        handles, names = grid[0].get_legend_handles_labels()
        if handles:
            figure.legend(handles, names, loc="outside lower center", ncols=len(names), fontsize=12)
        stamp(grid[0], label, right=method)
    return figure


def _profile(axes: Axes, result: Profile, reference: float | None) -> Any:
    """Draw one joint distribution with its median; return the mesh, None without entries."""
    drawn = mesh(axes, result.edges, result.quantity_edges, result.values)
    shown = result.values.sum(axis=1)
    low, high = covered(result.edges, [np.where(shown > 0.0, shown, np.nan)])
    scale_x(axes, result.spacing, low, high)
    bottom, top = float(result.quantity_edges[0]), float(result.quantity_edges[-1])
    if result.quantity_spacing == "log":
        log_y(axes, bottom, top)
    else:
        axes.set_ylim(bottom, top)
    axes.set_xlabel(result.label)
    axes.set_ylabel(result.quantity)
    if drawn is not None:
        edge: dict[str, Any] = {"color": _LINE, "linewidth": 1.5, "path_effects": _OUTLINED}
        axes.stairs(result.median, result.edges, baseline=None, label="Median", **edge)
        for values, name in ((result.low, "Central 68 %"), (result.high, None)):
            axes.stairs(values, result.edges, baseline=None, label=name, linestyle=":", **edge)
        if reference is not None:
            axes.axhline(reference, color="black", linewidth=1.0, linestyle="--", zorder=0.5)
    return drawn


def agreement_figure(results: Mapping[str, Agreement], *, label: str = "Simulation") -> Figure:
    """Draw the uncertainties of two methods against each other, a panel per kind.

    Args:
        results: Kind -> what `metrics.agreement` found; kinds without entries are left out.
        label: Kind of sample, written behind the name of the package.
    """
    with style(), mpl.rc_context(SMALL):
        shown = {kind: found for kind, found in results.items() if found.values.any()}
        figure, grid = panels(len(shown), columns=3, size=(5.6, 5.0))
        if not shown:
            no_entries(grid[0])
        for found in results.values():
            _label(grid[0], found)
        for axes, (kind, found) in zip(grid, shown.items(), strict=False):
            _agreement(figure, axes, found)
            stamp(axes, label, right=looks([kind])[kind].label)
    return figure


def _agreement(figure: Figure, axes: Axes, found: Agreement) -> None:
    filled = np.flatnonzero((found.values > 0.0).any(axis=0) | (found.values > 0.0).any(axis=1))
    low, high = float(found.edges[filled[0]]), float(found.edges[filled[-1] + 1])
    drawn = mesh(axes, found.edges, found.edges, found.values)
    figure.colorbar(drawn, ax=axes, label="Objects", pad=0.02)
    axes.plot([low, high], [low, high], color=_LINE, linestyle="--", label="Equal")
    scale_x(axes, "log", low, high)
    log_y(axes, low, high)
    _label(axes, found)
    lines = (
        f"Ratio of medians {with_error(found.median_ratio, found.median_ratio_error)}",
        f"Rank correlation {with_error(found.rank_correlation, found.rank_correlation_error)}",
    )
    axes.legend(loc="upper left", title="\n".join(lines), alignment="left", title_fontsize=10)


def _label(axes: Axes, found: Agreement) -> None:
    axes.set_xlabel(rf"$\sigma\,/\,R$, {found.first}")
    axes.set_ylabel(rf"$\sigma\,/\,R$, {found.second}")
