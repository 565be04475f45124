"""Figures that lay the uncertainties of several methods over each other."""

from __future__ import annotations

from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np

from hepcalib.hists import KINDS
from hepcalib.hists.uncertainty import PULLS
from hepcalib.plots.drawing import (
    against_variable,
    canvas,
    headroom,
    legend_or_note,
    log_x,
    no_entries,
    reference_line,
    stamp,
    steps,
)
from hepcalib.plots.panels import SMALL, panels
from hepcalib.plots.style import looks, style

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from hepcalib.metrics import CoverageProfile, Pull, UncertaintySpectrum

__all__ = ["coverage_figure", "pull_comparison_figure", "uncertainty_comparison_figure"]

_LINES = ("-", "--", "-.", ":")


def uncertainty_comparison_figure(
    results: Mapping[str, Mapping[str, UncertaintySpectrum]], *, label: str = "Simulation"
) -> Figure:
    """Draw the spectrum of the uncertainties of each method, a panel per kind.

    Args:
        results: Method -> kind -> what `metrics.uncertainty_spectrum` found.
        label: Kind of sample, written behind the name of the package.
    """
    with style(), mpl.rc_context(SMALL):
        figure, grid = panels(len(KINDS), columns=len(KINDS), size=(4.8, 4.2), sharey=True)
        for axes, kind in zip(grid, KINDS, strict=True):
            drawn = False
            for place, (method, look) in enumerate(looks(results).items()):
                found = results[method][kind]
                known = found.valley is not None and kind == "total"
                text = look.label + (f", valley {found.valley:.2f}" if known else "")
                drawn |= _steps(axes, found, place, colour=look.colour, text=text)
            log_x(axes, 1e-3 if kind == "statistical" else 1e-2, 2.0)
            axes.set_xlabel(rf"{looks([kind])[kind].label} $\sigma\,/\,R$")
            _finish(axes, drawn, bottom=1e-3)
            stamp(axes, label)
        grid[0].set_ylabel("Fraction of objects per decade")
        headroom(grid[0], 0.1 + 0.06 * len(results))
    return figure


def pull_comparison_figure(
    results: Mapping[str, Mapping[str, Pull]], *, label: str = "Simulation"
) -> Figure:
    """Draw the pulls of each method beside a standard normal, a panel per kind of uncertainty.

    Args:
        results: Method -> kind -> what `metrics.pulls` found.
        label: Kind of sample, written behind the name of the package.
    """
    with style(), mpl.rc_context(SMALL):
        figure, grid = panels(len(PULLS), columns=len(PULLS), size=(4.8, 4.2), sharey=True)
        x = np.linspace(-5.0, 5.0, 201)
        normal = [NormalDist().pdf(float(at)) for at in x]
        for axes, (name, kind) in zip(grid, looks(PULLS.values()).items(), strict=True):
            drawn = False
            for place, (method, look) in enumerate(looks(results).items()):
                found = results[method][name]
                text = f"{look.label}: width {found.width:.3g}"
                drawn |= _steps(axes, found, place, colour=look.colour, text=text)
            if drawn:
                axes.plot(x, normal, color="grey", linestyle="--", label="Standard normal")
            axes.set_xlim(-5.0, 5.0)
            axes.set_xlabel(kind.label)
            _finish(axes, drawn, bottom=1e-4)
            stamp(axes, label)
        grid[0].set_ylabel("Probability density")
        headroom(grid[0], 0.15 + 0.06 * len(results))
    return figure


def _steps(axes: Axes, found: Any, place: int, *, colour: str, text: str) -> bool:
    """Draw a density, the line style by the place of the method."""
    line = _LINES[place % len(_LINES)]
    return steps(
        axes,
        found.edges,
        found.density,
        found.density_error,
        color=colour,
        linestyle=line,
        label=text,
    )


def _finish(axes: Axes, drawn: bool, *, bottom: float) -> None:
    if not drawn:
        no_entries(axes)
        return
    axes.set_yscale("log")
    axes.set_ylim(bottom=bottom)
    axes.legend(loc="upper left")


def coverage_figure(results: Mapping[str, CoverageProfile], *, label: str = "Simulation") -> Figure:
    """Draw the coverage of the intervals of each method against a variable.

    Args:
        results: Method -> what `metrics.coverage_profile` found, all against the same variable.
        label: Kind of sample, written behind the name of the package.
    """
    with style():
        figure, grid = canvas()
        axes = grid[0, 0]
        drawn = against_variable(axes, results, lambda x: (x.fraction, x.fraction_error))
        for found in list(results.values())[:1]:
            reference_line(axes, found.level)
            axes.set_ylabel(f"Coverage of the {100.0 * found.level:.4g} % interval")
        if drawn:
            low, high = axes.get_ylim()
            axes.set_ylim(min(low, 0.6), max(high, 0.76))
        legend_or_note(axes, drawn, least=0.2)
        stamp(axes, label)
    return figure
