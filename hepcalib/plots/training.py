"""Figure of a training, epoch by epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.ticker import MaxNLocator

from hepcalib.plots.drawing import canvas, no_entries, stamp
from hepcalib.plots.style import style

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["history_figure"]

_BELOW = {
    "regulariser": ("Regulariser", "#009e73"),
    "penalty": ("Penalty", "#cc79a7"),
}
FAR = 5.0  # interquartile ranges above the upper quartile: no part of a fall, but a single bad step


def history_figure(history: Sequence[Mapping[str, float]], *, label: str = "") -> Figure:
    """Draw the losses of a training, and below what was added to them where it was not zero.

    What is larger in the first fifth of the epochs than in all others may lie above the axes, as
    may a loss that is far above those of all other epochs.

    Args:
        history: Per epoch its number, train_nll, validation_nll [nat per object], regulariser
            and penalty: the fields of `training.Epoch`, as bundles keep them.
        label: Name of the model.
    """
    with style():
        below = [name for name in _BELOW if any(epoch[name] != 0.0 for epoch in history)]
        figure, grid = canvas(1 + len(below), heights=(3.0,) + (1.3,) * len(below), sharex=True)
        main = grid[0, 0]
        epochs = [epoch["epoch"] for epoch in history]
        for name, text, colour, dash in (
            ("train_nll", "Training", "#0072b2", "-"),
            ("validation_nll", "Validation", "#d55e00", "--"),
        ):
            values = [epoch[name] for epoch in history]
            main.plot(epochs, values, dash, marker=".", color=colour, label=text)
        for axes, name in zip(grid[1:, 0], below, strict=True):
            text, colour = _BELOW[name]
            axes.plot(epochs, [epoch[name] for epoch in history], marker=".", color=colour)
            axes.set_ylabel(text)
        if history:
            main.legend(loc="upper right")
            _show_the_end(main, history)
        else:
            no_entries(main)
        main.set_ylabel("Loss per object")
        grid[-1, 0].set_xlabel("Epoch")
        grid[-1, 0].xaxis.set_major_locator(MaxNLocator(integer=True))
        stamp(main, "Training", right=label)
        figure.align_ylabels()
    return figure


def _show_the_end(axes: Axes, history: Sequence[Mapping[str, float]]) -> None:
    """Let the later epochs decide on the range of y, not the first ones, nor a single bad step."""
    later = history[len(history) // 5 :]
    values = np.array([epoch[name] for epoch in later for name in ("train_nll", "validation_nll")])
    if not np.isfinite(values).all():
        return
    first, third = np.quantile(values, (0.25, 0.75))
    low, high = values.min(), values[values <= third + FAR * (third - first)].max()
    if low < high:
        axes.set_ylim(low - 0.1 * (high - low), high + 0.35 * (high - low))
