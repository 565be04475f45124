"""Figures of decorrelated taggers against transverse momentum and pile-up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from matplotlib.lines import Line2D

from hepcalib.hists import VARIABLES
from hepcalib.plots.drawing import canvas, no_entries, reference_line, stamp, variable_x
from hepcalib.plots.placing import legend_outside
from hepcalib.plots.style import looks, style

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from hepcalib.metrics import DecorrelationProfile, EfficiencyProfile
    from hepcalib.metrics.counts import Floats

__all__ = ["decorrelation_profile_figure", "efficiency_comparison_figure"]


class _Binned(Protocol):
    @property
    def variable(self) -> str: ...

    @property
    def edges(self) -> Floats: ...


def decorrelation_profile_figure(
    profiles: Mapping[str, DecorrelationProfile], *, label: str = "Simulation"
) -> Figure:
    """Draw rejection, 1 / JSD, flatness and distance correlation of taggers against a variable.

    In each bin the cut has its signal efficiency; the points of a bin stand side by side. Of 1 /
    JSD and the flatness a short line shows what a score independent of the mass would have.
    Rejection and 1 / JSD are shown where they are known to better than a half.

    Args:
        profiles: Tagger -> what `metrics.decorrelation_profiles` found.
        label: Kind of sample, written behind the name of the package.
    """
    with style():
        figure, grid = canvas(2, 2, sharex=True)
        figure.set_size_inches(11.0, 8.0)
        percent = 100.0 * next(
            (m.rejections[0].signal_efficiency for p in profiles.values() for m in p.merits), 0.5
        )
        quantities: list[tuple[str, Any, Any]] = [
            (
                rf"Background rejection $R_{{{percent:g}}}$",
                lambda found: _known(*found.rejection()),
                None,
            ),
            ("1 / JSD [1/bit]", lambda found: _known(*found.one_over_jsd()), _limits),
            (
                r"max $|\,\epsilon_\mathrm{B}(m)\,/\,\epsilon_\mathrm{B} - 1\,|$",
                lambda found: found.flatness(),
                _flat,
            ),
            ("Squared distance correlation", lambda found: found.correlation(), None),
        ]
        handles: list[Line2D] = []
        for axes, (name, values, expected) in zip(grid.flat, quantities, strict=True):
            handles = _side_by_side(axes, profiles, values, expected)
            axes.set_ylabel(name)
            if not handles:
                no_entries(axes)
            elif expected is not None:
                axes.set_yscale("log")
            else:
                axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
        _finish(figure, grid, profiles, handles, label)
    return figure


def efficiency_comparison_figure(
    signal: Mapping[str, EfficiencyProfile],
    background: Mapping[str, EfficiencyProfile],
    *,
    label: str = "Simulation",
) -> Figure:
    """Draw the efficiencies of taggers for signal and background against a variable.

    Args:
        signal: Tagger -> what `metrics.efficiency_profile` found for the signal.
        background: The same for the background, at the same cuts; the first is drawn.
        label: Kind of sample, written behind the name of the package.
    """
    with style():
        figure, grid = canvas(2, 1, sharex=True)
        handles: list[Line2D] = []
        for axes, (name, results) in zip(
            grid.flat, {"Signal": signal, "Background": background}.items(), strict=True
        ):
            handles = _side_by_side(
                axes, results, lambda found: (found.efficiency[0], found.efficiency_error[0]), None
            )
            axes.set_ylabel(f"{name} efficiency")
            if not handles:
                no_entries(axes)
                continue
            axes.set_ylim(bottom=0.0)
            if name == "Background":
                reference_line(axes, float(next(iter(results.values())).working_points[0]))
        _finish(figure, grid, background, handles, label)
    return figure


def _side_by_side(
    axes: Axes,
    results: Mapping[str, Any],
    values: Callable[[Any], tuple[Floats, Floats]],
    expected: Callable[[Any], Floats] | None,
) -> list[Line2D]:
    """Draw the points of all taggers beside each other in every bin; return what a legend needs."""
    handles = []
    for place, (tagger, look) in enumerate(looks(results).items()):
        found = results[tagger]
        y, error = values(found)
        if not np.isfinite(y).any():
            continue
        share = (place + 1.0) / (len(results) + 1.0)
        x = _inside(found, share)
        axes.errorbar(
            x,
            y,
            yerr=np.nan_to_num(error),
            color=look.colour,
            marker=look.marker,
            linestyle="none",
            elinewidth=1.2,
        )
        if expected is not None:
            ends = [_inside(found, share + side / (len(results) + 1.0)) for side in (-0.45, 0.45)]
            level = np.where(np.isfinite(y), expected(found), np.nan)
            axes.hlines(level, ends[0], ends[1], color=look.colour, linewidth=1.2)
        handles.append(
            Line2D(
                [], [], color=look.colour, marker=look.marker, linestyle="none", label=look.label
            )
        )
    return handles


def _inside(found: _Binned, share: float) -> Floats:
    """Return where this share of each bin is left of, as wide as it is drawn."""
    low, high = found.edges[:-1], found.edges[1:]
    known = VARIABLES.get(found.variable)
    if known is not None and known.spacing == "log":
        return np.asarray(low * (high / low) ** share)
    return np.asarray(low + (high - low) * share)


def _finish(
    figure: Figure,
    grid: Any,
    results: Mapping[str, Any],
    handles: list[Line2D],
    label: str,
) -> None:
    """Set the common x, mark the bins, and draw the legend and the stamp."""
    for found in list(results.values())[:1]:
        for axes in grid[-1]:
            shown = [np.isfinite(_first(result)) for result in results.values()]
            variable_x(
                axes, found.variable, found.edges, shown=[np.where(s, 0.0, np.nan) for s in shown]
            )
        for axes in grid.flat:
            for edge in found.edges[1:-1]:
                axes.axvline(edge, color="#d8d8d8", linewidth=0.6, zorder=0)
    if handles:
        legend_outside(figure, handles, [str(handle.get_label()) for handle in handles])
    stamp(grid[0, 0], label)


def _first(result: Any) -> Floats:
    return np.asarray(
        result.efficiency[0] if hasattr(result, "efficiency") else result.rejection()[0]
    )


def _known(value: Floats, error: Floats) -> tuple[Floats, Floats]:
    return np.where(error < 0.5 * value, value, np.nan), error


def _limits(found: DecorrelationProfile) -> Floats:
    return np.array([merit.band.one_over for merit in found.merits])


def _flat(found: DecorrelationProfile) -> Floats:
    return np.array([merit.flatness.expected for merit in found.merits])
