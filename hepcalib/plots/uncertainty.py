"""Figures of the predicted uncertainties."""

from __future__ import annotations

from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import LogNorm

from hepcalib.plots.drawing import canvas, headroom, log_x, no_entries, stamp, steps
from hepcalib.plots.style import looks, style

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hist import Hist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from hepcalib.metrics import Pull, UncertaintySpectrum

__all__ = ["pull_figure", "uncertainty_figure", "uncertainty_rapidity_figure"]


def pull_figure(results: Mapping[str, Pull], *, label: str = "Simulation") -> Figure:
    """Draw the pulls, and the residuals over each part of the uncertainty, beside a normal.

    Args:
        results: Kind -> what `metrics.pulls` found.
        label: Kind of sample, written behind the name of the package.
    """
    with style():
        figure, grid = canvas()
        axes = grid[0, 0]
        drawn = False
        for kind, look in looks(results).items():
            found = results[kind]
            text = f"{look.label}: {_widths(found)}"
            drawn |= steps(
                axes, found.edges, found.density, found.density_error, color=look.colour, label=text
            )
        if drawn:
            grid_x = np.linspace(-6.0, 6.0, 241)
            normal = [NormalDist().pdf(float(x)) for x in grid_x]
            axes.plot(grid_x, normal, color="grey", linestyle="--", label="Standard normal")
            axes.set_yscale("log")
            axes.set_ylim(1e-4, 0.6)
            headroom(axes, 0.28)
            axes.legend(loc="upper left")
        else:
            no_entries(axes)
        axes.set_xlim(-6.0, 6.0)
        axes.set_xlabel(r"$(L_\mathrm{pred} - L_\mathrm{true})\,/\,\sigma$")
        axes.set_ylabel("Probability density")
        stamp(axes, label)
    return figure


def _widths(found: Pull) -> str:
    """Return the widths that are known, in words."""
    named = {"width": found.width, "core": found.robust_width}
    return ", ".join(f"{name} {value:.3g}" for name, value in named.items() if np.isfinite(value))


def uncertainty_figure(
    results: Mapping[str, UncertaintySpectrum], *, label: str = "Simulation"
) -> Figure:
    """Draw the spectrum of each kind of uncertainty; the maxima and the valley of the total marked.

    Args:
        results: Kind -> what `metrics.uncertainty_spectrum` found.
        label: Kind of sample, written behind the name of the package.
    """
    with style():
        figure, grid = canvas()
        axes = grid[0, 0]
        drawn = False
        for kind, look in looks(results).items():
            found = results[kind]
            drawn |= steps(
                axes,
                found.edges,
                found.density,
                found.density_error,
                color=look.colour,
                label=look.label,
            )
        log_x(axes, 1e-3, 10.0)
        if drawn:
            axes.set_yscale("log")
            axes.set_ylim(bottom=1e-3)
            headroom(axes, 0.25)
            if "total" in results:
                _mark(axes, results["total"])
            axes.legend(loc="upper left", ncols=2)
        else:
            no_entries(axes)
        axes.set_xlabel(r"Relative uncertainty $\sigma\,/\,R$")
        axes.set_ylabel("Fraction of objects per decade")
        stamp(axes, label)
    return figure


def _mark(axes: Axes, found: UncertaintySpectrum) -> None:
    """Mark the maxima of a spectrum above its smoothed line, and the valley below it."""
    colour = "#cc79a7"
    for place, peak in enumerate(found.peaks):
        height = float(np.interp(peak, found.centres, found.smoothed))
        name = "Maxima" if place == 0 else None
        axes.plot(peak, height * 1.35, "v", color=colour, label=name)
        axes.text(peak, height * 1.8, f"{peak:.2f}", ha="center", va="bottom", color=colour)
    if found.valley is not None:
        depth = float(np.interp(found.valley, found.centres, found.smoothed))
        axes.plot(found.valley, depth / 1.35, "^", color=colour, label="Valley", fillstyle="none")
        text = f"{found.valley:.2f}"
        axes.text(found.valley, depth / 1.8, text, ha="center", va="top", color=colour)


def uncertainty_rapidity_figure(histogram: Hist[Any], *, label: str = "Simulation") -> Figure:
    """Draw where in the detector the uncertainty is large.

    Args:
        histogram: What `hists.uncertainty_rapidity` returned, filled.
        label: Kind of sample, written behind the name of the package.
    """
    with style():
        figure, grid = canvas()
        axes = grid[0, 0]
        values = np.asarray(histogram.values())
        positive = np.ma.masked_less_equal(values, 0.0)
        if positive.count():
            norm = LogNorm(float(positive.min()), max(float(positive.max()), 1.0))
            x, y = (np.asarray(axis.edges) for axis in histogram.axes)
            mesh = axes.pcolormesh(x, y, positive.T, norm=norm, cmap="viridis", rasterized=True)
            figure.colorbar(mesh, ax=axes, label="Objects", pad=0.02)
        else:
            no_entries(axes)
        axes.set_yscale("log")
        axes.set_xlabel(histogram.axes[0].label)
        axes.set_ylabel(histogram.axes[1].label)
        stamp(axes, label)
    return figure
