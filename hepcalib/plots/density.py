"""Figures of predicted densities: against the data in bins of energy, and as PIT."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np

from hepcalib.plots.drawing import (
    canvas,
    covered,
    headroom,
    legend_above,
    no_entries,
    points,
    reference_line,
    stamp,
    steps,
)
from hepcalib.plots.panels import SMALL, panels, with_error
from hepcalib.plots.style import Look, looks, style

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from hepcalib.metrics import DensityBin, Pit

__all__ = ["density_figure", "pit_figure"]

_DATA = Look("Clusters", "#000000", "o")
_COMPONENTS = ("#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8b5e3c")


def density_figure(results: Sequence[DensityBin], *, label: str = "Simulation") -> Figure:
    """Draw the density of log10 R in bins of energy beside the predicted one and its components.

    Args:
        results: What `metrics.densities` found.
        label: Kind of sample, written behind the name of the package.
    """
    with style(), mpl.rc_context(SMALL):
        figure, grid = panels(len(results), columns=3, size=(4.8, 4.0))
        if not results:
            no_entries(grid[0])
        for axes, found in zip(grid, results, strict=False):
            _density(axes, found)
            text = rf"{found.low:g} < $E_\mathrm{{EM}}$ < {found.high:g} GeV"
            stamp(axes, label, right=text)
        for axes in grid:
            axes.set_xlabel(r"$\log_{10} R_\mathrm{EM}$")
        for axes in grid[0::3]:
            axes.set_ylabel(r"Density per unit of $\log_{10} R_\mathrm{EM}$")
        handles, names = grid[0].get_legend_handles_labels()
        if handles:
            figure.legend(handles, names, loc="outside lower center", ncols=len(names), fontsize=12)
    return figure


def _density(axes: Axes, found: DensityBin) -> None:
    for colour, (name, values) in zip(_COMPONENTS, found.components.items(), strict=False):
        axes.stairs(
            values,
            found.edges,
            color=colour,
            linestyle="--",
            linewidth=1.2,
            label=name.capitalize(),
        )
    if np.isfinite(found.predicted).any():
        axes.stairs(found.predicted, found.edges, color="#d55e00", label="Predicted")
    at, shown = (found.edges, found.centres), np.where(found.data > 0.0, found.data, np.nan)
    points(axes, at, shown, found.data_error, look=_DATA)
    axes.set_xlim(
        *covered(found.edges, [np.where(found.data > 0.005 * found.data.max(), shown, np.nan)])
    )
    axes.set_ylim(bottom=0.0)
    headroom(axes, 0.08)


def pit_figure(results: Mapping[str, Pit], *, label: str = "Simulation") -> Figure:
    """Draw the probability integral transform of each method, flat if its density is right.

    Args:
        results: Method -> what `metrics.pits` found.
        label: Kind of sample, written behind the name of the package.
    """
    with style():
        figure, grid = canvas()
        axes = grid[0, 0]
        reference_line(axes, 1.0)
        drawn = False
        for method, look in looks(results).items():
            found = results[method]
            text = f"{look.label}: mean {with_error(found.mean, found.mean_error)}"
            drawn |= steps(
                axes, found.edges, found.density, found.density_error, color=look.colour, label=text
            )
        axes.set_xlim(0.0, 1.0)
        axes.set_ylim(bottom=0.0)
        if drawn:
            legend_above(axes, columns=1, least=0.25)
        else:
            no_entries(axes)
        axes.set_xlabel("Probability integral transform")
        axes.set_ylabel("Probability density")
        stamp(axes, label)
    return figure
