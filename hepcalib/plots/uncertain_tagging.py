"""Figures of scores with uncertainties: reliability, width against score, shifted inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.colors import LogNorm

from hepcalib.plots.drawing import (
    canvas,
    headroom,
    log_x,
    no_entries,
    reference_line,
    stamp,
    steps,
)
from hepcalib.plots.style import looks, style

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hist import Hist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from hepcalib.metrics import Reliability, ScoreChange, ScoreSpread, WidthRatio, WidthSpectrum

__all__ = [
    "logit_width_figure",
    "reliability_figure",
    "score_change_figure",
    "score_spread_figure",
    "width_ratio_figure",
]


def reliability_figure(results: Mapping[str, Reliability], *, label: str = "Simulation") -> Figure:
    """Draw the share of signal against the score; right scores lie on the diagonal.

    Args:
        results: Tagger -> what `metrics.reliability` found.
        label: Kind of sample, written behind the name of the package.
    """
    with style():
        figure, grid = canvas()
        axes = grid[0, 0]
        drawn = False
        for tagger, look in looks(results).items():
            found = results[tagger]
            known = np.isfinite(found.fraction)
            if not known.any():
                continue
            drawn = True
            right = rf"{100 * found.error_if_right:.2f} $\pm$ {100 * found.error_spread:.2f} %"
            text = f"{look.label}: ECE {100 * found.error:.2f} % ({right} if right)"
            axes.errorbar(
                found.score[known],
                found.fraction[known],
                yerr=found.fraction_error[known],
                color=look.colour,
                marker=look.marker,
                linestyle="none",
                label=text,
            )
        if drawn:
            axes.plot([0.0, 1.0], [0.0, 1.0], color="grey", linestyle="--", zorder=0)
            axes.set_ylim(0.0, 1.0)
            headroom(axes, 0.08 + 0.06 * len(results))
            axes.legend(loc="upper left")
        else:
            no_entries(axes)
        axes.set_xlim(0.0, 1.0)
        axes.set_xlabel("Mean score")
        axes.set_ylabel("Share of signal")
        stamp(axes, label)
    return figure


def score_spread_figure(
    histogram: Hist[Any], results: Mapping[str, ScoreSpread], *, label: str = "Simulation"
) -> Figure:
    """Draw the standard deviation of the score against it: density, and the means of each origin.

    Args:
        histogram: What `hists.score_spread` returned, filled; the density is of its first origin.
        results: Origin -> what `metrics.score_spreads` found.
        label: Kind of sample, written behind the name of the package.
    """
    with style():
        figure, grid = canvas()
        axes = grid[0, 0]
        values = np.asarray(histogram.values()[0])
        positive = np.ma.masked_less_equal(values, 0.0)
        top = 0.02
        if positive.count():
            norm = LogNorm(float(positive.min()), max(float(positive.max()), 1.01))
            x, y = (np.asarray(axis.edges) for axis in list(histogram.axes)[1:])
            mesh = axes.pcolormesh(x, y, positive.T, norm=norm, cmap="Greys", rasterized=True)
            figure.colorbar(mesh, ax=axes, label="Jets", pad=0.02)
            top = max(top, float(y[1:][values.any(axis=0)].max()))
            for origin, look in looks(results).items():
                found = results[origin]
                known = np.isfinite(found.spread)
                axes.errorbar(
                    found.centres[known],
                    found.spread[known],
                    yerr=found.spread_error[known],
                    color=look.colour,
                    marker=look.marker,
                    linestyle="none",
                    markersize=4.0,
                    label=look.label,
                )
            axes.set_ylim(0.0, top)
            headroom(axes, 0.08 + 0.06 * len(results))
            axes.legend(loc="upper left")
        else:
            no_entries(axes)
        axes.set_xlim(0.0, 1.0)
        axes.set_xlabel(histogram.axes[1].label)
        axes.set_ylabel(histogram.axes[2].label)
        stamp(axes, label)
    return figure


def score_change_figure(
    results: Mapping[str, ScoreChange],
    *,
    x_label: str,
    y_label: str,
    label: str = "Simulation",
) -> Figure:
    """Draw the mean change of each truth label against the shift, with a band of 68 % of the jets.

    Args:
        results: Truth label -> what `metrics.score_changes` found, shifts named by numbers.
        x_label: What is shifted.
        y_label: What changes.
        label: Kind of sample, written behind the name of the package.
    """
    with style():
        figure, grid = canvas()
        axes = grid[0, 0]
        for truth, look in looks(results).items():
            found = results[truth]
            x = np.array([float(shift) for shift in found.shifts])
            order = np.argsort(x)
            axes.errorbar(
                x[order],
                found.mean[order],
                yerr=found.mean_error[order],
                color=look.colour,
                marker=look.marker,
                label=look.label,
                linewidth=1.0,
            )
            axes.fill_between(
                x[order], found.low[order], found.high[order], color=look.colour, alpha=0.2, lw=0.0
            )
        if results:
            reference_line(axes, 0.0)
            headroom(axes, 0.12)
            axes.legend(loc="upper left", ncols=len(results))
        else:
            no_entries(axes)
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        stamp(axes, label)
    return figure


def logit_width_figure(
    results: Mapping[str, Mapping[str, WidthSpectrum]],
    *,
    truths: Sequence[str] = ("signal", "background"),
    label: str = "Simulation",
) -> Figure:
    """Draw the spectrum of the width of the logit for each shift, a panel per truth label.

    Args:
        results: Shift -> truth label -> what `metrics.width_spectra` found.
        truths: Truth labels to show.
        label: Kind of sample, written behind the name of the package.
    """
    with style():
        figure, grid = canvas(1, len(truths), sharey=True)
        for axes, truth in zip(grid[0], truths, strict=True):
            shown = {shift: found[truth] for shift, found in results.items() if truth in found}
            drawn = False
            for shift, look in looks(shown).items():
                found = shown[shift]
                drawn |= steps(
                    axes,
                    found.edges,
                    found.density,
                    found.density_error,
                    color=look.colour,
                    label=f"{look.label}: median {found.median:.3f}",
                )
            log_x(axes, *_populated(shown))
            _finish(axes, drawn, rows=len(shown))
            axes.set_xlabel(r"Width of the logit $\sigma_a$")
            stamp(axes, label, right=looks([truth])[truth].label)
        grid[0, 0].set_ylabel("Fraction of jets per decade")
    return figure


def width_ratio_figure(found: WidthRatio, *, label: str = "Simulation") -> Figure:
    """Draw the median ratio of widths of the logit against the score.

    Args:
        found: What `metrics.width_ratios` found.
        label: Kind of sample, written behind the name of the package.
    """
    with style():
        figure, grid = canvas()
        axes = grid[0, 0]
        known = np.isfinite(found.ratio)
        if known.any():
            sides = 0.5 * np.diff(found.edges)[known]
            axes.errorbar(
                found.centres[known],
                found.ratio[known],
                xerr=sides,
                yerr=found.ratio_error[known],
                color="#0072b2",
                marker="o",
                linestyle="none",
            )
            reference_line(axes, 1.0)
        else:
            no_entries(axes)
        axes.set_xlim(0.0, 1.0)
        axes.set_xlabel(r"Score $\mu$")
        axes.set_ylabel(r"Median $\sigma_a$: draws / networks")
        median = rf"median {found.median:.3f} $\pm$ {found.median_error:.3f}" if known.any() else ""
        stamp(axes, label, right=median)
    return figure


def _populated(shown: Mapping[str, WidthSpectrum]) -> tuple[float, float]:
    """Return the range of widths that holds all but rare jets, 1e-3 to 10 if there is none."""
    low, high = 10.0, 1e-3
    for found in shown.values():
        inside = np.flatnonzero(found.density > 1e-3 * max(found.density.max(), 1e-12))
        if inside.size:
            low = min(low, float(found.edges[inside[0]]))
            high = max(high, float(found.edges[inside[-1] + 1]))
    return (low, high) if low < high else (1e-3, 10.0)


def _finish(axes: Axes, drawn: bool, *, rows: int) -> None:
    if not drawn:
        no_entries(axes)
        return
    axes.set_ylim(bottom=0.0)
    headroom(axes, 0.05 + 0.06 * rows)
    axes.legend(loc="upper left")
