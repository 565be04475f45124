"""Counts of what taggers cost: parameters and time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import hist
import numpy as np

from hepcalib.hists.axes import category_axis, fill, histogram

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hist import Hist

__all__ = ["fill_tagger_cost", "tagger_cost"]

_QUANTITIES = ("jets", "parameters times jets", "timed jets", "seconds")


def tagger_cost(taggers: Sequence[str]) -> Hist[Any]:
    """Return the empty histogram of jets, parameters times jets, timed jets and seconds.

    Returns:
        Axes tagger, quantity (the place of the quantity in this order). Sums of chunks are those of
        all jets, so that parameters, and jets per second, are quotients.

    Raises:
        ConfigError: if a tagger stands twice.
    """
    names = ", ".join(f"{name} ({place})" for place, name in enumerate(_QUANTITIES))
    edges = np.arange(len(_QUANTITIES) + 1) - 0.5
    axis = hist.axis.Variable(edges, name="quantity", label=names.capitalize(), metadata="linear")
    return histogram(category_axis("tagger", taggers, label="Tagger"), axis)


def fill_tagger_cost(
    histogram: Hist[Any], *, tagger: str, jets: int, parameters: int, seconds: float | None = None
) -> None:
    """Fill what one prediction has cost.

    Args:
        histogram: What `tagger_cost` returned; changed in place.
        tagger: One of its taggers.
        jets: Number of jets.
        parameters: Parameters of the model.
        seconds: How long the prediction took; None if it was not measured.

    Raises:
        DataError: if the tagger is unknown.
    """
    timed = 0.0 if seconds is None else float(jets)
    weights = [float(jets), float(parameters) * jets, timed, seconds or 0.0]
    places = np.arange(len(_QUANTITIES))
    fill(histogram, weights, categories={"tagger": tagger}, values={"quantity": places})
