"""Figures of the features: before and after their transforms, above and below the valley."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np

from hepcalib.plots.drawing import covered, headroom, no_entries, stamp, steps
from hepcalib.plots.panels import SMALL, panels, scale_x
from hepcalib.plots.style import style

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from hepcalib.metrics import FeatureSplit, InputDistribution, Region

__all__ = ["feature_input_figure", "feature_split_figure"]

_RAW, _SEEN, _ABOVE, _REGION = "#0072b2", "#009e73", "#d55e00", "#e69f00"


def feature_input_figure(
    results: Mapping[str, InputDistribution], *, label: str = "Simulation"
) -> Figure:
    """Draw each feature as it is and, at its right, as a model sees it.

    Args:
        results: Feature -> what `metrics.input_distribution` found.
        label: Kind of sample, written behind the name of the package.
    """
    with style(), mpl.rc_context(SMALL):
        figure, grid = panels(2 * len(results), columns=6, size=(3.4, 2.9))
        if not results:
            no_entries(grid[0])
        pairs = zip(grid[0::2], grid[1::2], strict=False)
        for (raw, seen), found in zip(pairs, results.values(), strict=False):
            _input(raw, seen, found)
        for axes in grid[0::6]:
            axes.set_ylabel("Fraction of clusters")
        stamp(grid[0], label)
    return figure


def _input(raw: Axes, seen: Axes, found: InputDistribution) -> None:
    nothing = np.zeros_like(found.fraction)
    drawn = steps(raw, found.edges, found.fraction, found.fraction_error, color=_RAW)
    shown = np.where(found.fraction > nothing, found.fraction, np.nan)
    scale_x(raw, found.spacing, *covered(found.edges, [shown]))
    raw.set_xlabel(found.label)
    seen.set_xlabel("Transformed")
    steps(
        seen,
        found.transformed_edges,
        found.transformed_fraction,
        found.transformed_fraction_error,
        color=_SEEN,
    )
    seen.set_xlim(-5.0, 5.0)
    for axes in (raw, seen):
        axes.set_ylim(bottom=0.0)
        if not drawn:
            no_entries(axes)
    if drawn:
        headroom(seen, 0.15)
        mean = round(found.transformed_mean, 2) + 0.0  # no -0.00
        text = f"mean {mean:.2f}, width {found.transformed_width:.2f}"
        seen.text(0.5, 0.97, text, transform=seen.transAxes, ha="center", va="top", fontsize=10)


def feature_split_figure(
    results: Mapping[str, FeatureSplit],
    *,
    region: Region | None = None,
    label: str = "Simulation",
) -> Figure:
    """Draw features of the objects above and below the valley of the uncertainties.

    Args:
        results: Feature -> what `metrics.feature_splits` found.
        region: What `metrics.large_uncertainty_region` found, to be marked.
        label: Kind of sample, written behind the name of the package.
    """
    with style(), mpl.rc_context(SMALL):
        figure, grid = panels(len(results), columns=4, size=(4.6, 3.9))
        if not results:
            no_entries(grid[0])
        for axes, found in zip(grid, results.values(), strict=False):
            mine = region if region is not None and region.feature == found.feature else None
            _split(axes, found, mine)
            stamp(axes, label)
        for axes in grid[0::4]:
            axes.set_ylabel("Fraction of objects")
    return figure


def _split(axes: Axes, found: FeatureSplit, region: Region | None) -> None:
    """Draw one feature; the legend says how far the two are apart."""
    drawn = steps(
        axes,
        found.edges,
        found.below,
        found.below_error,
        fill=True,
        color="#d0d0d0",
        label=rf"$\sigma\,/\,R$ < {found.valley:.2g}",
    )
    drawn |= steps(
        axes,
        found.edges,
        found.above,
        found.above_error,
        color=_ABOVE,
        label=rf"$\sigma\,/\,R$ > {found.valley:.2g}",
    )
    both = np.nan_to_num(found.above) + np.nan_to_num(found.below)
    scale_x(axes, found.spacing, *covered(found.edges, [np.where(both > 0.0, both, np.nan)]))
    axes.set_xlabel(found.label)
    axes.set_ylim(bottom=0.0)
    if not drawn:
        no_entries(axes)
        return
    headroom(axes, 0.35)  # for the legend
    name = "Region"
    for low, high in region.intervals if region else ():
        axes.axvspan(low, high, ymax=0.65, color=_REGION, alpha=0.3, linewidth=0.0, label=name)
        name = ""
    axes.legend(loc="upper right", title=f"Separation {found.separation:.3f}", alignment="left")
