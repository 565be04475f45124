"""Figure of a scan: the uncertainties of models that differ in one setting."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
import numpy as np

from hepcalib.plots.drawing import headroom, no_entries, stamp
from hepcalib.plots.panels import SMALL, panels, with_error
from hepcalib.plots.style import Look, looks, style

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from hepcalib.metrics import Scan
    from hepcalib.metrics.counts import Floats

__all__ = ["scan_figure"]


def scan_figure(
    results: Mapping[str, Scan], *, known: float | None = None, label: str = "Simulation"
) -> Figure:
    """Draw the median statistical and systematic uncertainty of each method against a setting.

    Args:
        results: Method -> what `metrics.scan` found, all against the same setting.
        known: Median relative width of the response, where the sample's is known.
        label: Kind of sample, written behind the name of the package.
    """
    with style(), mpl.rc_context(SMALL):
        figure, (left, right) = panels(2, columns=2, size=(5.6, 4.6))
        drawn = [False, False]
        for method, look in looks(results).items():
            found = results[method]
            drawn[0] |= _statistical(left, found, look)
            drawn[1] |= _systematic(right, found, look)
        if known is not None:
            right.axhline(known, color="black", linestyle="--", linewidth=1.0, label="Known width")
        for axes, filled, name in zip(
            (left, right), drawn, ("statistical", "systematic"), strict=True
        ):
            axes.set_ylabel(rf"Median {name} $\sigma\,/\,R$")
            for found in list(results.values())[:1]:
                axes.set_xlabel(found.parameter)
            if filled:
                values = np.concatenate([found.values for found in results.values()])
                axes.set_xscale("log")
                axes.set_xlim(values.min() / 1.5, values.max() * 1.5)
                headroom(axes, 0.15 + 0.06 * len(results))
                axes.legend(loc="upper right")
            else:
                no_entries(axes)
            stamp(axes, label)
    return figure


def _statistical(axes: Axes, found: Scan, look: Look) -> bool:
    """Draw the statistical uncertainties with the power law that was fitted."""
    law, text = found.statistical_slope, look.label
    if law is not None:
        text += f": slope {with_error(law.slope, law.slope_error)}"
        x = np.geomspace(law.low, law.high, 50)
        axes.plot(x, law.amplitude * x**law.slope, color=look.colour, linestyle="--", linewidth=1.0)
    drawn = _points(
        axes, found.values, found.statistical, found.statistical_error, look=look, text=text
    )
    if drawn:
        axes.set_yscale("log")
    return drawn


def _systematic(axes: Axes, found: Scan, look: Look) -> bool:
    """Draw the systematic uncertainties with their plateau."""
    flat, text = found.systematic_plateau, look.label
    if flat is not None:
        text += f": plateau {with_error(flat.value, flat.error)}"
        ends = [flat.start, float(found.values[-1])]
        axes.plot(ends, [flat.value] * 2, color=look.colour, linestyle="--", linewidth=1.0)
    return _points(
        axes, found.values, found.systematic, found.systematic_error, look=look, text=text
    )


def _points(axes: Axes, x: Floats, y: Floats, error: Floats, *, look: Look, text: str) -> bool:
    shown = np.isfinite(y)
    if shown.any():
        axes.errorbar(
            x[shown],
            y[shown],
            yerr=error[shown],
            color=look.colour,
            marker=look.marker,
            markersize=6,
            linestyle="none",
            label=text,
        )
    return bool(shown.any())
