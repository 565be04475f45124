"""Short texts beside points, where nothing else is."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from matplotlib.transforms import Bbox

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Beside", "beside_points", "legend_outside"]

_DISTANCES = (7.0, 12.0, 18.0, 26.0, 36.0)  # points
_DIRECTIONS = np.deg2rad([0.0, 180.0, 60.0, -60.0, 120.0, -120.0, 30.0, 150.0, -30.0, -150.0])
_REACH = 4.0  # of a marker, in points


class Beside(NamedTuple):
    """A text, the point that it belongs to in data coordinates, and its colour."""

    text: str
    at: tuple[float, float]
    colour: str


def beside_points(
    axes: Axes, texts: Sequence[Beside], *, taken: Sequence[tuple[float, float]]
) -> None:
    """Write each text at the free place nearest to its point; leave it out if there is none.

    The ranges of the axes must be final.

    Args:
        axes: Where to write.
        texts: What to write.
        taken: Points in data coordinates that no text may cover.
    """
    figure: Any = axes.get_figure()
    figure.draw_without_rendering()
    scale = figure.dpi / 72.0
    places = axes.transData.transform(np.array(taken, dtype=np.float64).reshape(-1, 2))
    reach = _REACH * scale
    boxes = [Bbox.from_extents(x - reach, y - reach, x + reach, y + reach) for x, y in places]
    boxes += [text.get_window_extent() for text in axes.texts if text.get_text()]
    inside = axes.get_window_extent()
    for wanted in texts:
        note = axes.annotate(
            wanted.text,
            wanted.at,
            (0.0, 0.0),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=10,
            color=wanted.colour,
        )
        size = note.get_window_extent()
        for distance, angle in itertools.product(_DISTANCES, _DIRECTIONS):
            x = np.cos(angle) * (distance + 0.5 * size.width / scale)
            y = np.sin(angle) * (distance + 0.5 * size.height / scale)
            box = size.translated(x * scale, y * scale).padded(1.5 * scale)
            if not any(box.overlaps(other) for other in boxes) and _within(box, inside):
                note.xyann = (x, y)
                boxes.append(box)
                break
        else:
            note.remove()


def legend_outside(figure: Figure, handles: Sequence[Any], labels: Sequence[str]) -> None:
    """Draw one legend at the right of all axes, and widen the figure for it."""
    width, height = figure.get_size_inches()
    longest = max((len(label) for label in labels), default=0)
    figure.set_size_inches(width + 0.6 + 0.09 * longest, height)
    figure.legend(handles, labels, loc="outside right upper")


def _within(box: Bbox, outer: Bbox) -> bool:
    return bool(
        box.x0 >= outer.x0 and box.x1 <= outer.x1 and box.y0 >= outer.y0 and box.y1 <= outer.y1
    )
