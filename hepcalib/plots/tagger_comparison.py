"""Figure of taggers against each other: rejection against size or speed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hepcalib.plots.drawing import canvas, headroom, log_x, no_entries, stamp
from hepcalib.plots.style import looks, style

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure

    from hepcalib.metrics import TaggerCost, TaggerMerit

__all__ = ["tagger_comparison_figure"]


def tagger_comparison_figure(
    merits: Mapping[str, TaggerMerit],
    costs: Mapping[str, TaggerCost],
    *,
    label: str = "Simulation",
) -> Figure:
    """Draw the background rejection of each tagger against its parameters, a panel per efficiency.

    Args:
        merits: Tagger -> what `metrics.tagger_merits` found.
        costs: Tagger -> what `metrics.tagger_costs` found.
        label: Kind of sample, written behind the name of the package.
    """
    points = next((found.signal_efficiencies for found in merits.values()), np.array([0.5]))
    with style():
        figure, grid = canvas(1, len(points))
        for place, (axes, point) in enumerate(zip(grid[0], points, strict=True)):
            sizes = []
            for tagger, look in looks(merits).items():
                found, size = merits[tagger], costs[tagger].parameters
                if not (np.isfinite(found.rejections[place]) and 0.0 < size < np.inf):
                    continue  # a column has no parameters
                sizes.append(size)
                axes.errorbar(
                    [size],
                    [found.rejections[place]],
                    yerr=np.nan_to_num(found.rejection_errors[[place]]),
                    color=look.colour,
                    marker=look.marker,
                    markersize=8.0,
                    linestyle="none",
                    label=look.label,
                )
            if sizes:
                log_x(axes, 0.5 * min(sizes), 2.0 * max(sizes))
                axes.set_ylim(bottom=0.0)
                headroom(axes, 0.08 + 0.06 * -(-len(merits) // 2))
                axes.legend(loc="upper left", ncols=2)
            else:
                no_entries(axes)
            axes.set_xlabel("Parameters")
            axes.set_ylabel(
                rf"Background rejection at $\epsilon_\mathrm{{S}}$ = {100.0 * point:.0f} %"
            )
            stamp(axes, label)
    return figure
