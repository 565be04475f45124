"""Figures that hold methods of decorrelation against each other, over their strengths and cuts."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, NullFormatter

from hepcalib.plots.drawing import canvas, no_entries, stamp
from hepcalib.plots.placing import Beside, beside_points, legend_outside
from hepcalib.plots.style import Look, looks, style

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from hepcalib.metrics import DecorrelationMerit, LimitCurve, Method, SculptingCurve

__all__ = ["decorrelation_paths_figure", "sculpting_curve_figure"]

_GREY: dict[str, Any] = {"color": "#e4e4e4", "zorder": 0, "linewidth": 0.0}
_BAND: dict[str, Any] = {"color": "#9a9a9a", "alpha": 0.6, "zorder": 1, "linewidth": 0.0}
_LIMIT = "Independent: 68 %"
_COLOURS = 10  # different ones


def decorrelation_paths_figure(
    methods: Mapping[str, Method],
    merits: Mapping[str, DecorrelationMerit],
    limit: LimitCurve,
    *,
    label: str = "Simulation",
) -> Figure:
    """Draw decorrelation against rejection: a path per method over its strength, or its seeds.

    The strengths are written at the ends of a path. The band is where a score that does not depend
    on the mass would be.

    Args:
        methods: What `metrics.methods` found.
        merits: Training -> what `metrics.decorrelation_merits` found.
        limit: What `metrics.limit_curve` found for the same jets.
        label: Kind of sample, written behind the name of the package.
    """
    with style():
        figure, grid = canvas()
        axes = grid[0, 0]
        handles, taken, texts = list[Any](), list[tuple[float, float]](), list[Beside]()
        for name, look in looks(methods).items():
            method = methods[name]
            drawn = _path(axes, [merits[training] for training in method.trainings], look, method)
            if not drawn:
                continue
            taken += _along(list(drawn.values()), joined=method.kind == "strength")
            handles.append(_handle(look, joined=method.kind == "strength"))
            if method.kind == "strength":
                ends = {min(drawn), max(drawn)}
                texts += [Beside(f"{value:g}", drawn[value], look.colour) for value in sorted(ends)]
        efficiency = next((m.rejections[0].signal_efficiency for m in merits.values()), 0.5)
        axes.set_xlabel(rf"Background rejection $R_{{{100.0 * efficiency:g}}}$")
        axes.set_ylabel("Decorrelation 1 / JSD [1/bit]")
        if taken:
            _regions(axes, np.array(taken), limit)
            handles.append(Patch(label=_LIMIT, **_BAND))
            legend_outside(figure, handles, [handle.get_label() for handle in handles])
        else:
            no_entries(axes)
        stamp(axes, label)
        if texts:
            beside_points(axes, texts, taken=taken)
    return figure


def sculpting_curve_figure(
    curves: Mapping[str, SculptingCurve], limit: LimitCurve, *, label: str = "Simulation"
) -> Figure:
    """Draw the divergence of the background mass against the background efficiency of the cut.

    The axis ends a factor 10 below the band: a constant score, of no divergence, is not on it.

    Args:
        curves: Tagger -> what `metrics.sculpting_curves` found.
        limit: What `metrics.limit_curve` found for the same jets.
        label: Kind of sample, written behind the name of the package.
    """
    with style():
        figure, grid = canvas()
        axes = grid[0, 0]
        handles: list[Any] = []
        for tagger, look in looks(curves).items():
            found = curves[tagger]
            shown = found.jsd > 0.0
            if not shown.any():
                continue
            x, y = found.background_efficiency[shown], found.jsd[shown]
            error = found.jsd_error[shown]
            line: Literal["-", "--"] = "-" if len(handles) < _COLOURS else "--"
            axes.plot(x, y, color=look.colour, linestyle=line)
            low = np.maximum(y - error, 0.1 * y)
            axes.fill_between(x, low, y + error, color=look.colour, alpha=0.25, linewidth=0.0)
            handles.append(Line2D([], [], color=look.colour, linestyle=line, label=look.label))
        axes.set_xlabel(r"Background efficiency $\epsilon_\mathrm{B}$")
        axes.set_ylabel("JSD of what passes and what fails [bit]")
        if handles:
            x = limit.background_efficiency
            axes.fill_between(x, limit.jsd_low, limit.jsd_high, **_BAND)
            handles.append(Patch(label=_LIMIT, **_BAND))
            axes.set(xscale="log", yscale="log", xlim=(float(x.min()), 1.0))
            positive = limit.jsd_low[limit.jsd_low > 0.0]
            axes.set_ylim(bottom=0.1 * float(positive.min()) if positive.size else None, top=1.0)
            _plain(axes.xaxis)
            legend_outside(figure, handles, [handle.get_label() for handle in handles])
        else:
            no_entries(axes)
        stamp(axes, label)
    return figure


def _path(
    axes: Axes, merits: list[DecorrelationMerit], look: Look, method: Method
) -> dict[float, tuple[float, float]]:
    """Draw the trainings of a method; return where those of each value stand."""
    at: dict[float, tuple[float, float]] = {}
    errors = []
    for value, merit in zip(method.values or (0.0,), merits, strict=True):
        point, found = merit.rejections[0], merit.jsd
        if np.isfinite([point.rejection, found.one_over]).all():
            at[value] = (point.rejection, found.one_over)
            below = min(np.nan_to_num(found.one_over_error), 0.9 * found.one_over)
            errors.append((np.nan_to_num(point.rejection_error), below))
    if at:
        axes.errorbar(
            *np.array(list(at.values())).T,
            **dict(zip(("xerr", "yerr"), np.array(errors).T, strict=True)),
            color=look.colour,
            marker=look.marker,
            markersize=7,
            linestyle="-" if method.kind == "strength" else "none",
            linewidth=1.2,
            elinewidth=1.0,
            zorder=3,
        )
    return at


def _regions(axes: Axes, taken: Any, limit: LimitCurve) -> None:
    """Set the ranges, shade where a tagger does not separate or sculpts maximally, and the band."""
    x, low, high = (
        1.0 / part for part in (limit.background_efficiency, limit.jsd_high, limit.jsd_low)
    )
    right = 2.0 * max(5.0, float(taken[:, 0].max()))
    near = np.isfinite(high) & (x <= right)
    top = 4.0 * max(float(taken[:, 1].max()), *high[near], 1.0)
    axes.set(xscale="log", yscale="log", xlim=(1.0, right), ylim=(0.3, top))
    axes.fill_between(x, low, high, **_BAND)
    axes.axvspan(1.0, 2.0, **_GREY)
    axes.axhspan(0.3, 1.0, **_GREY)
    axes.text(1.42, 1.5, "No separation", rotation=90, ha="center", va="bottom", color="#666666")
    axes.text(2.3, 0.55, "Maximal sculpting", ha="left", va="center", color="#666666")
    _plain(axes.xaxis)


def _along(at: list[tuple[float, float]], *, joined: bool) -> list[tuple[float, float]]:
    """Return the points and, where they are joined, places on the lines between them."""
    found = list(at)
    for first, last in itertools.pairwise(at) if joined else ():
        steps = np.geomspace(first, last, 40)[1:-1]
        found += [(float(x), float(y)) for x, y in steps]
    return found


def _handle(look: Look, *, joined: bool) -> Line2D:
    return Line2D(
        [],
        [],
        color=look.colour,
        marker=look.marker,
        markersize=7,
        linestyle="-" if joined else "none",
        label=look.label,
    )


def _plain(axis: Any) -> None:
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())
