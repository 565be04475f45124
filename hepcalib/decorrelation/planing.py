"""Planing: event weights that make the spectrum of a nuisance the same for all classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from hepcalib.casting import cast
from hepcalib.exceptions import ConfigError, DataError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]

__all__ = ["effective_share", "planing_weights"]

REFERENCES = ("flat", "signal", "background")


def planing_weights(
    values: ArrayLike,
    background: ArrayLike,
    *,
    bins: Sequence[int | Sequence[float]],
    weight: ArrayLike | None = None,
    reference: Literal["flat", "signal", "background"] = "flat",
) -> Floats:
    r"""Return weights that give both classes the same spectrum of one or two variables.

    .. math:: w_i = w^0_i\, \frac{p_{ref}(m_i)}{p(m_i | class_i)}

    in bins. The reference is flat over the bins that both classes populate, or the spectrum of one
    class; both classes get the same sum of weights. A classifier that is trained with them gains
    nothing from the variable itself, but still from what is correlated with it. Objects outside
    the bins, or in bins that one class does not populate, get 0.

    Reference: arXiv:1709.10106.

    Args:
        values: The variables, such as the mass [GeV].
        background: True for the background, False for the signal.
        bins: For each variable its edges, or a number of bins between the extremes of all objects.
        weight: Event weights, not negative.
        reference: "flat", "signal" or "background".

    Shapes:
        values: (rows,) or (rows, variables); background, weight: (rows,) -> (rows,)

    Returns:
        Weights of mean 1 over all objects.

    Raises:
        ConfigError: if the reference is unknown, there are no bins for each of one or two
            variables, or edges do not rise.
        ShapeError: if the lengths differ.
        DataError: if a value is not finite, a weight negative, or no bin has both classes.
    """
    columns = np.asarray(values, dtype=np.float64)
    columns = columns[:, None] if columns.ndim == 1 else columns
    is_background = cast(background, bool, what="background")
    start = np.ones(len(columns)) if weight is None else np.asarray(weight, dtype=np.float64)
    _check(columns, is_background, start, reference=reference, variables=len(bins))
    cell, volume = _cells(columns, bins)
    inside = cell >= 0
    totals = []
    for members in (is_background, ~is_background):
        chosen = members & inside
        totals.append(np.bincount(cell[chosen], weights=start[chosen], minlength=len(volume)))
    common = (totals[0] > 0) & (totals[1] > 0)
    if not common.any():
        msg = "planing: no bin has both signal and background; use wider bins"
        raise DataError(msg)
    wanted = {"flat": volume, "background": totals[0], "signal": totals[1]}[reference] * common
    wanted = wanted / wanted.sum()
    result = np.zeros(len(columns))
    for members, total in zip((is_background, ~is_background), totals, strict=True):
        factor = np.divide(wanted, total, out=np.zeros_like(wanted), where=common)
        chosen = members & inside
        result[chosen] = start[chosen] * factor[cell[chosen]]
    return np.asarray(result * (len(result) / result.sum()))


def effective_share(weight: ArrayLike) -> float:
    r"""Return the effective number of events over their number.

    .. math:: \frac{N_{eff}}{N} = \frac{(\sum w)^2}{N \sum w^2}

    For planing to flat over a width W it is :math:`W^2 / \int dm / p(m)`.

    Args:
        weight: (rows,), not all 0.
    """
    values = np.asarray(weight, dtype=np.float64)
    return float(values.sum() ** 2 / (len(values) * np.square(values).sum()))


def _check(
    columns: Floats,
    background: NDArray[np.bool_],
    weight: Floats,
    *,
    reference: str,
    variables: int,
) -> None:
    if reference not in REFERENCES:
        msg = f"planing: reference is '{reference}'; needed: {', '.join(REFERENCES)}"
        raise ConfigError(msg)
    if variables not in {1, 2} or columns.ndim != 2 or columns.shape[1] != variables:
        msg = f"planing: bins of {variables} variables for values of shape {columns.shape}"
        raise ConfigError(msg)
    if background.shape != weight.shape or background.shape != columns.shape[:1]:
        msg = (
            f"planing: {len(columns)} values, background of shape {background.shape}, weight of "
            f"shape {weight.shape}; needed: as many of each"
        )
        raise ShapeError(msg)
    bad = ~np.isfinite(columns).all(axis=1) | ~np.isfinite(weight) | (weight < 0)
    if bad.any():
        row = int(bad.argmax())
        msg = (
            f"planing: row {row} has values {columns[row].tolist()} and weight {weight[row]}; "
            "needed: finite ones, and weights that are not negative"
        )
        raise DataError(msg)


def _cells(
    columns: Floats, bins: Sequence[int | Sequence[float]]
) -> tuple[NDArray[np.int64], Floats]:
    """Return the cell of each object, -1 outside, and the volume of each cell."""
    cell = np.zeros(len(columns), dtype=np.int64)
    inside, volume = np.ones(len(columns), dtype=bool), np.ones(1)
    for column, wanted in zip(columns.T, bins, strict=True):
        edges = _edges(column, wanted)
        number = np.searchsorted(edges, column, side="right") - 1
        number[column == edges[-1]] = len(edges) - 2
        inside &= (number >= 0) & (number < len(edges) - 1)
        cell = cell * (len(edges) - 1) + number
        volume = np.outer(volume, np.diff(edges)).ravel()
    return np.where(inside, cell, -1), volume


def _edges(column: Floats, wanted: int | Sequence[float]) -> Floats:
    if isinstance(wanted, int):
        if wanted < 1 or not len(column) or column.min() == column.max():
            msg = f"planing: {wanted} bins of a constant, or of nothing; give at least 1, and edges"
            raise ConfigError(msg)
        return np.linspace(column.min(), column.max(), wanted + 1)
    edges = np.asarray(wanted, dtype=np.float64)
    if len(edges) < 2 or not (np.diff(edges) > 0).all():
        msg = f"planing: bin edges {list(wanted)}; needed: at least two, in ascending order"
        raise ConfigError(msg)
    return edges
