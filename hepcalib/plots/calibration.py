"""Figures of the linearity, resolution and spectra of energy scales."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hepcalib.plots.drawing import (
    against_variable,
    canvas,
    covered,
    headroom,
    legend_or_note,
    log_x,
    no_entries,
    reference_line,
    stamp,
    steps,
)
from hepcalib.plots.style import looks, style

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure

    from hepcalib.metrics import Linearity, Resolution, Spectrum

__all__ = ["linearity_figure", "resolution_figure", "spectrum_figure"]

_QUANTITIES = {"energy": r"Cluster energy $E$ [GeV]", "pt": r"Jet $p_\mathrm{T}$ [GeV]"}
_SYMBOLS = {"energy": "E", "pt": r"p_\mathrm{T}"}


def linearity_figure(results: Mapping[str, Linearity], *, label: str = "Simulation") -> Figure:
    """Draw the median response minus one of each scale against a variable.

    Args:
        results: Scale -> what `metrics.linearity` found, all against the same variable.
        label: Kind of sample, written behind the name of the package.
    """
    with style():
        figure, grid = canvas()
        axes = grid[0, 0]
        reference_line(axes, 0.0)
        drawn = against_variable(axes, results, lambda x: (x.linearity, x.median_error))
        for found in list(results.values())[:1]:
            axes.set_ylabel(f"Median {found.quantity} $-$ 1")
        legend_or_note(axes, drawn)
        stamp(axes, label)
    return figure


def resolution_figure(results: Mapping[str, Resolution], *, label: str = "Simulation") -> Figure:
    """Draw the relative resolution of each scale against a variable.

    Args:
        results: Scale -> what `metrics.resolution` found, all against the same variable.
        label: Kind of sample, written behind the name of the package.
    """
    with style():
        figure, grid = canvas()
        axes = grid[0, 0]
        drawn = against_variable(axes, results, lambda x: (x.resolution, x.resolution_error))
        for found in list(results.values())[:1]:
            axes.set_ylabel(f"Resolution of {found.quantity}")
        axes.set_ylim(bottom=0.0)
        legend_or_note(axes, drawn)
        stamp(axes, label, right=r"$(q_{84} - q_{16})\,/\,2 q_{50}$")
    return figure


def spectrum_figure(results: Mapping[str, Spectrum], *, label: str = "Simulation") -> Figure:
    """Draw the spectrum of each scale, and below its ratio to that of the reference.

    Args:
        results: Scale -> what `metrics.spectra` found.
        label: Kind of sample, written behind the name of the package.
    """
    with style():
        figure, grid = canvas(2, heights=(3.0, 1.2), sharex=True)
        main, ratio = grid[:, 0]
        reference_line(ratio, 1.0)
        drawn = False
        for scale, look in looks(results).items():
            found = results[scale]
            drawn |= steps(
                main,
                found.edges,
                found.density,
                found.density_error,
                color=look.colour,
                label=look.label,
            )
            if scale != found.reference:
                steps(ratio, found.edges, found.ratio, found.ratio_error, color=look.colour)
        for found in list(results.values())[:1]:
            ratio.set_xlabel(_QUANTITIES[found.quantity])
            main.set_ylabel(rf"$dN/d{_SYMBOLS[found.quantity]}$ [1/GeV]")
            ratio.set_ylabel(f"Ratio to {found.reference.lower()}")
            shown = [np.where(x.density > 0.0, x.density, np.nan) for x in results.values()]
            log_x(main, *covered(found.edges, shown))
        ratio.set_ylim(0.4, 1.6)
        if drawn:
            main.set_yscale("log")
            many = len(results) > 6
            headroom(main, 0.3 if many else 0.0)
            main.legend(ncols=2 if many else 1, loc="upper right")
        else:
            no_entries(main)
            no_entries(ratio)
        stamp(main, label)
        figure.align_ylabels()
    return figure
