"""Figures of what models look at: filters, importance of inputs, attention, neighbours."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np

from hepcalib.plots.drawing import canvas, no_entries, reference_line, stamp
from hepcalib.plots.style import style

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from hepcalib.interpretation import AttentionProfile, Filters, Importance, NeighbourDistances
    from hepcalib.metrics.counts import Floats

__all__ = ["attention_figure", "filters_figure", "importance_figure", "neighbours_figure"]

_COLOURS = "viridis"


def filters_figure(found: Filters, *, label: str = "Simulation") -> Figure:
    """Draw the contour of each filter half-way between its extremes, small regions dark.

    Reference: arXiv:1810.05165.

    Args:
        found: What `interpretation.efn_filters` found.
        label: Kind of sample, written behind the name of the package.
    """
    with style():
        figure, grid = canvas()
        axes = grid[0, 0]
        low, high = (found.values.min(axis=(1, 2)), found.values.max(axis=(1, 2)))
        varied = np.flatnonzero(high > low)
        middle = 0.5 * (low + high)
        area = (found.values > middle[:, None, None]).mean(axis=(1, 2))
        order = varied[np.argsort(area[varied], kind="stable")]
        colours = mpl.colormaps[_COLOURS](np.linspace(0.0, 0.95, max(1, len(order))))
        for number, colour in zip(order, colours, strict=False):
            axes.contour(
                found.rapidity,
                found.azimuth,
                found.values[number].T,
                levels=[middle[number]],
                colors=[tuple(colour)],
                linewidths=0.8,
            )
        if not len(order):
            no_entries(axes)
        axes.set_xlim(found.rapidity[0], found.rapidity[-1])
        axes.set_ylim(found.azimuth[0], found.azimuth[-1])
        axes.set_xlabel(r"Rapidity $y - y_\mathrm{jet}$")
        axes.set_ylabel(r"Azimuth $\phi - \phi_\mathrm{jet}$ [rad]")
        total = len(found.values) + found.zero
        stamp(axes, label, right=f"{len(found.values)} of {total} filters")
    return figure


def importance_figure(found: Importance, *, label: str = "Simulation") -> Figure:
    """Draw what the loss rises, and the area under the ROC curve falls, without each input.

    Args:
        found: What `interpretation.permutation_importance` found.
        label: Kind of sample, written behind the name of the package.
    """
    parts = [("Increase of the loss", found.loss_increase, found.loss_increase_error)]
    if np.isfinite(found.auc):
        parts.append(("Drop of the AUC", found.auc_drop, found.auc_drop_error))
    order = np.argsort(found.loss_increase, kind="stable")
    with style():
        figure, grid = canvas(1, len(parts), sharey=True)
        at = np.arange(len(order))
        for axes, (name, values, errors) in zip(grid[0], parts, strict=True):
            if len(order):
                axes.barh(at, values[order], xerr=errors[order], color="#0072b2", height=0.7)
                axes.axvline(0.0, color="grey", linewidth=1.0)
            else:
                no_entries(axes)
            axes.set_xlabel(name)
            stamp(axes, label)
        grid[0, 0].set_yticks(at, [found.inputs[place] for place in order])
        grid[0, 0].set_ylabel("Input")
        grid[0, 0].tick_params(axis="y", which="minor", length=0.0)
    return figure


def attention_figure(
    results: Mapping[str, AttentionProfile], *, label: str = "Simulation"
) -> Figure:
    """Draw the attention by rank in transverse momentum and by distance from the axis.

    Args:
        results: Model -> what `interpretation.attention_profile` found.
        label: Kind of sample, written behind the name of the package.
    """
    with style():
        figure, grid = canvas(1, 2, sharey=True)
        for name, found in results.items():
            middle = 0.5 * (found.edges[1:] + found.edges[:-1])
            _points(
                grid[0, 0], found.rank.astype(np.float64), found.by_rank, found.by_rank_error, name
            )
            _points(grid[0, 1], middle, found.by_distance, found.by_distance_error, name)
            grid[0, 0].set_xlim(0.0, len(found.rank) + 1.0)
            grid[0, 1].set_xlim(found.edges[0], found.edges[-1])
        for axes in grid[0]:
            if results:
                reference_line(axes, 1.0)
                axes.legend()
            else:
                no_entries(axes)
            stamp(axes, label)
        grid[0, 0].set_xlabel(r"Rank in $p_\mathrm{T}$")
        grid[0, 1].set_xlabel(r"Distance $\Delta R$ from the axis")
        grid[0, 0].set_ylabel(r"Attention $\times$ number of constituents")
    return figure


def neighbours_figure(
    results: Mapping[str, NeighbourDistances], *, label: str = "Simulation"
) -> Figure:
    """Draw how far apart the neighbours of each edge convolution are.

    Args:
        results: Model -> what `interpretation.neighbour_distances` found.
        label: Kind of sample, written behind the name of the package.
    """
    with style():
        figure, grid = canvas()
        axes = grid[0, 0]
        for name, found in results.items():
            place = np.arange(1.0, len(found.distance) + 1.0)
            _points(axes, place, found.distance, found.distance_error, name)
        if results:
            axes.xaxis.set_major_locator(mpl.ticker.MaxNLocator(integer=True))
            axes.xaxis.set_minor_locator(mpl.ticker.NullLocator())
            axes.set_ylim(bottom=0.0)
            axes.set_xlim(0.5, max(len(found.distance) for found in results.values()) + 0.5)
            axes.legend()
        else:
            no_entries(axes)
        axes.set_xlabel("Edge convolution")
        axes.set_ylabel(r"Mean distance $\Delta R$ of neighbours")
        stamp(axes, label)
    return figure


def _points(axes: Axes, x: Floats, y: Floats, error: Floats, name: str) -> None:
    known = np.isfinite(y)
    axes.errorbar(
        x[known], y[known], yerr=np.nan_to_num(error[known]), fmt="o-", linewidth=1.0, label=name
    )
