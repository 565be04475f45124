"""Histograms of the uncertainty of tagger scores, and of how both react to shifted inputs."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import hist
import numpy as np

from hepcalib.exceptions import ConfigError, suggestion
from hepcalib.hists.axes import LABELS, category_axis, fill, histogram

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hist import Hist
    from numpy.typing import ArrayLike

__all__ = [
    "CHANGES",
    "fill_logit_width",
    "fill_score_change",
    "fill_score_spread",
    "fill_width_ratio",
    "logit_width",
    "score_change",
    "score_spread",
    "width_ratio",
]

_WIDTH = r"Width of the logit $\sigma_a$"


class _Change(NamedTuple):
    """How the change of a quantity is called, and how far its axis reaches on both sides."""

    label: str
    reach: float


CHANGES: Mapping[str, _Change] = MappingProxyType(
    {
        "score": _Change(r"Change of the score $\Delta\mu$", 1.0),
        "score_stat": _Change(r"Change of the width of the score $\Delta\sigma$", 0.5),
        "logit_mean": _Change(r"Change of the logit $\Delta a$", 10.0),
        "logit_stat": _Change(r"Change of the width of the logit $\Delta\sigma_a$", 5.0),
    }
)
"""What an input that is shifted changes, by the name of the field of a prediction."""


def score_spread(origins: Sequence[str]) -> Hist[Any]:
    """Return the empty histogram of score and its standard deviation, for several origins of it.

    Returns:
        Axes origin, score (50 bins on [0, 1]), spread (250 bins on [0, 0.5]); no flow bins.

    Raises:
        ConfigError: if an origin stands twice.
    """
    return histogram(
        category_axis("origin", origins, label="Origin"),
        _closed("score", 50, 1.0, label=r"Score $\mu$"),
        _closed("spread", 250, 0.5, label=r"Standard deviation of the score $\sigma$"),
    )


def fill_score_spread(
    histogram: Hist[Any],
    *,
    origin: str,
    score: ArrayLike,
    spread: ArrayLike,
    weight: ArrayLike | None = None,
) -> None:
    """Fill scores in [0, 1] (rows,) and their standard deviations (rows,).

    A spread above 0.5, which no set of scores has but an approximation may, counts as 0.5.

    Raises:
        DataError: if the origin is unknown, or a value is NaN.
        ShapeError: if the lengths differ.
    """
    columns = {"score": score, "spread": np.minimum(np.asarray(spread, dtype=np.float64), 0.5)}
    fill(histogram, weight, categories={"origin": origin}, values=columns)


def logit_width(shifts: Sequence[str]) -> Hist[Any]:
    """Return the empty histogram of the standard deviation of the logit, for several shifts.

    Returns:
        Axes shift, label (background, signal, unlabelled), width (160 bins of equal ratio, 1e-3
        to 10).

    Raises:
        ConfigError: if a shift stands twice.
    """
    return histogram(
        category_axis("shift", shifts, label="Shift"),
        category_axis("label", LABELS, label="Truth"),
        hist.axis.Variable(
            np.geomspace(1e-3, 10.0, 161), name="width", label=_WIDTH, metadata="log"
        ),
    )


def fill_logit_width(
    histogram: Hist[Any],
    *,
    shift: str,
    label: str,
    width: ArrayLike,
    weight: ArrayLike | None = None,
) -> None:
    """Fill the widths (rows,) of jets that share one truth label.

    Raises:
        DataError: if shift or label is unknown, or a value is NaN.
        ShapeError: if the lengths differ.
    """
    where = {"shift": shift, "label": label}
    fill(histogram, weight, categories=where, values={"width": width})


def score_change(quantity: str, *, shifts: Sequence[str]) -> Hist[Any]:
    """Return the empty histogram of what shifted inputs change.

    Args:
        quantity: One of `CHANGES`.
        shifts: Names of the shifts, such as their size.

    Returns:
        Axes shift, label (background, signal, unlabelled), change (2001 bins, 0 in the middle one).

    Raises:
        ConfigError: if the quantity is unknown or a shift stands twice.
    """
    if quantity not in CHANGES:
        msg = f"unknown quantity '{quantity}'. {suggestion(quantity, CHANGES)}"
        raise ConfigError(msg)
    found = CHANGES[quantity]
    reach = found.reach * 2001.0 / 2000.0
    return histogram(
        category_axis("shift", shifts, label="Shift"),
        category_axis("label", LABELS, label="Truth"),
        hist.axis.Regular(2001, -reach, reach, name="change", label=found.label),
    )


def fill_score_change(
    histogram: Hist[Any],
    *,
    shift: str,
    label: str,
    change: ArrayLike,
    weight: ArrayLike | None = None,
) -> None:
    """Fill the changes (rows,) of jets that share one truth label.

    Raises:
        DataError: if shift or label is unknown, or a value is NaN.
        ShapeError: if the lengths differ.
    """
    where = {"shift": shift, "label": label}
    fill(histogram, weight, categories=where, values={"change": change})


def width_ratio() -> Hist[Any]:
    """Return the empty histogram of two widths of the logit of the same jets.

    Returns:
        Axes score (10 bins on [0, 1]), ratio (first over second, 200 bins of equal ratio, 0.01 to
        100).
    """
    label = r"$\sigma_a$ of the weight draws / of independent networks"
    ratio = hist.axis.Variable(
        np.geomspace(0.01, 100.0, 201), name="ratio", label=label, metadata="log"
    )
    return histogram(_closed("score", 10, 1.0, label=r"Score $\mu$"), ratio)


def fill_width_ratio(
    histogram: Hist[Any],
    *,
    score: ArrayLike,
    ratio: ArrayLike,
    weight: ArrayLike | None = None,
) -> None:
    """Fill scores in [0, 1] (rows,) and ratios of widths (rows,).

    Raises:
        DataError: if a value is NaN.
        ShapeError: if the lengths differ.
    """
    fill(histogram, weight, categories={}, values={"score": score, "ratio": ratio})


def _closed(name: str, bins: int, high: float, *, label: str) -> hist.axis.Variable:
    """Return an axis from 0 whose last bin holds its upper end."""
    edges = np.linspace(0.0, high, bins + 1)
    edges[-1] = np.nextafter(high, 2.0)
    return hist.axis.Variable(edges, name=name, label=label, flow=False)
