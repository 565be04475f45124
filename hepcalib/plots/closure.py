"""Figures of the closure of calibrations, and of how it moves with a spectrum."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hepcalib.plots.drawing import (
    canvas,
    headroom,
    no_entries,
    reference_line,
    stamp,
    variable_x,
)
from hepcalib.plots.style import looks, style

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from hepcalib.metrics.closure import Closure, Shift
    from hepcalib.metrics.counts import Floats
    from hepcalib.plots.style import Look

__all__ = ["closure_figure"]

_BINNED = {
    "truth": ("true_energy", r"$E_\mathrm{cal}\,/\,E_\mathrm{dep}$", "Truth-binned"),
    "reco": ("calibrated_energy", r"$E_\mathrm{dep}\,/\,E_\mathrm{cal}$", "Reco-binned"),
}


def closure_figure(
    results: Mapping[str, Closure],
    shifts: Mapping[str, Shift],
    *,
    statistic: str = "median",
    shifted: str = "spectrum",
    label: str = "Simulation",
) -> Figure:
    """Draw a location of the closure against the energy, and below how far it moves.

    Args:
        results: Method -> closure, all in the same bins.
        shifts: Method -> its shift; methods without one are left out.
        statistic: "mean", "median" or "mode".
        shifted: What changes, such as "training spectrum", for the label of the lower panel.
        label: Kind of sample, written behind the name of the package.
    """
    with style():
        figure, grid = canvas(2, heights=(2.2, 1.2), sharex=True)
        main, below = grid[:, 0]
        reference_line(main, 1.0)
        reference_line(below, 0.0)
        drawn, moved = False, False
        for method, look in looks(results).items():
            found = results[method]
            values = getattr(found, statistic), getattr(found, f"{statistic}_error")
            drawn |= _line(main, found.centres, values, look=look)
            if method in shifts:
                percent = 100.0 * shifts[method].shift, 100.0 * shifts[method].error
                moved |= _line(below, found.centres, percent, look=look)
        for found in list(results.values())[:1]:
            variable, ratio, binned = _BINNED[found.binned_in]
            shown = [getattr(result, statistic) for result in results.values()]
            variable_x(below, variable, found.edges, shown=shown)
            main.set_ylabel(f"{statistic.capitalize()} of {ratio}")
            below.set_ylabel("Shift [%]")
            below.set_title(f"with the {shifted}", loc="right")
            stamp(main, label, right=binned)
        if drawn:
            headroom(main, 0.3)
            main.legend(ncols=3, loc="upper right")
        for axes, filled in ((main, drawn), (below, moved)):
            if not filled:
                no_entries(axes)
        figure.align_ylabels()
    return figure


def _line(axes: Axes, x: Floats, y: tuple[Floats, Floats], *, look: Look) -> bool:
    """Draw bins as points that a line joins; say whether there is one."""
    values, errors = y
    shown = np.isfinite(values)
    if shown.any():
        axes.errorbar(
            x[shown],
            values[shown],
            yerr=np.nan_to_num(errors[shown]),
            label=look.label,
            color=look.colour,
            marker=look.marker,
            linewidth=1.0,
        )
    return bool(shown.any())
