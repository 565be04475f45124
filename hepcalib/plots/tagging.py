"""Figures of what a tagger does: ROC curves, efficiencies, scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

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
from hepcalib.plots.placing import legend_outside
from hepcalib.plots.style import looks, style

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure

    from hepcalib.metrics import EfficiencyProfile, Roc, ScoreDistribution

__all__ = ["efficiency_figure", "roc_figure", "score_figure"]

_INSIDE = 7  # curves whose legend has room over them
_COLOURS = 10  # different ones


def roc_figure(results: Mapping[str, Roc], *, label: str = "Simulation") -> Figure:
    """Draw background rejection against signal efficiency, with a band of one standard error.

    Curves begin where the rejection is known to better than a half: about four background jets.

    Args:
        results: Tagger -> what `metrics.roc` found.
        label: Kind of sample, written behind the name of the package.
    """
    with style():
        figure, grid = canvas()
        axes = grid[0, 0]
        drawn = False
        for place, (tagger, look) in enumerate(looks(results).items()):
            found = results[tagger]
            shown = np.isfinite(found.rejection) & (found.rejection_error < 0.5 * found.rejection)
            if not shown.any():
                continue
            drawn = True
            x, y = found.signal_efficiency[shown], found.rejection[shown]
            error = found.rejection_error[shown]
            text = rf"{look.label}: AUC {found.auc:.4f} $\pm$ {found.auc_error:.4f}"
            line = "-" if place < _COLOURS else "-."
            axes.plot(x, y, color=look.colour, linestyle=line, label=text)
            axes.fill_between(x, y - error, y + error, color=look.colour, alpha=0.25, linewidth=0.0)
        axes.set_xlim(0.0, 1.0)
        if drawn:
            chance = np.linspace(0.01, 1.0, 100)
            axes.plot(chance, 1.0 / chance, color="grey", linestyle="--", label="Chance")
            axes.set_yscale("log")
            axes.set_ylim(bottom=1.0)
            handles, names = axes.get_legend_handles_labels()
            if len(names) > _INSIDE:
                legend_outside(figure, handles, names)
            else:
                headroom(axes, 0.1)
                axes.legend(loc="upper right")
        else:
            no_entries(axes)
        axes.set_xlabel(r"Signal efficiency $\epsilon_\mathrm{S}$")
        axes.set_ylabel(r"Background rejection $1/\epsilon_\mathrm{B}$")
        stamp(axes, label)
    return figure


def efficiency_figure(
    results: Mapping[str, EfficiencyProfile], *, label: str = "Simulation"
) -> Figure:
    """Draw the efficiency against the mass, or another variable, at several cuts, per tagger.

    Args:
        results: Tagger -> what `metrics.efficiency_profile` found.
        label: Kind of sample, written behind the name of the package.
    """
    with style():
        figure, grid = canvas(1, max(len(results), 1), sharey=True)
        if not results:
            no_entries(grid[0, 0])
        for axes, (tagger, found) in zip(grid[0], results.items(), strict=False):
            drawn = False
            names = [rf"{100.0 * point:g} %" for point in found.working_points]
            for row, look in enumerate(looks(names).values()):
                at, error = (found.edges, found.centres), found.efficiency_error[row]
                drawn |= points(axes, at, found.efficiency[row], error, look=look)
                if found.label == "background":
                    reference_line(axes, float(found.working_points[row]))
            variable_x(axes, found.variable, found.edges)
            axes.set_ylim(0.0, 1.0)
            if drawn:
                headroom(axes, 0.2)
                axes.set_yticks(np.linspace(0.0, 1.0, 6))
                title = r"Inclusive $\epsilon_\mathrm{B}$"
                axes.legend(ncols=len(names), title=title, columnspacing=0.8, handletextpad=0.3)
            else:
                no_entries(axes)
            stamp(axes, label, right=looks([tagger])[tagger].label)
            grid[0, 0].set_ylabel(f"{found.label.capitalize()} efficiency")
    return figure


def score_figure(
    results: Mapping[str, Mapping[str, ScoreDistribution]], *, label: str = "Simulation"
) -> Figure:
    """Draw the score of the jets of each truth label, per tagger.

    Args:
        results: Tagger -> truth label -> what `metrics.score_distribution` found.
        label: Kind of sample, written behind the name of the package.
    """
    with style():
        figure, grid = canvas(1, max(len(results), 1))
        if not results:
            no_entries(grid[0, 0])
        for axes, (tagger, labels) in zip(grid[0], results.items(), strict=False):
            drawn = False
            for truth, look in looks(labels).items():
                found = labels[truth]
                drawn |= steps(
                    axes,
                    found.edges,
                    found.density,
                    found.density_error,
                    color=look.colour,
                    label=f"{look.label} ({found.entries:,.0f} jets)",
                )
            axes.set_xlim(0.0, 1.0)
            if drawn:
                axes.set_yscale("log")
                headroom(axes, 0.2)
                axes.legend(loc="upper center", ncols=2)
            else:
                no_entries(axes)
            axes.set_xlabel("Score")
            axes.set_ylabel("Probability density")
            stamp(axes, label, right=looks([tagger])[tagger].label)
    return figure
