"""Histograms that hold methods against each other, and each against the truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import hist
import numpy as np

from hepcalib.casting import cast
from hepcalib.exceptions import DataError, ShapeError
from hepcalib.hists.axes import (
    KINDS,
    category_axis,
    fill,
    histogram,
    variable_axis,
)
from hepcalib.hists.features import feature_axis

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hist import Hist
    from numpy.typing import ArrayLike

__all__ = [
    "coverage",
    "fill_coverage",
    "fill_measured_response",
    "fill_pit",
    "fill_uncertainty_pair",
    "measured_response",
    "pit",
    "uncertainty_pair",
]

_TRUTHS = ("outside", "inside")


def measured_response() -> Hist[Any]:
    """Return the empty histogram of the measured response: axes true_energy, response.

    60 bins of equal ratio from 0.3 to 2000 GeV, 100 of equal ratio from 0.1 to 10.
    """
    response = hist.axis.Variable(
        np.geomspace(0.1, 10.0, 101),
        name="response",
        label=r"$R_\mathrm{EM} = E_\mathrm{EM}\,/\,E_\mathrm{dep}$",
        metadata="log",
    )
    return histogram(feature_axis("true_energy"), response)


def fill_measured_response(
    histogram: Hist[Any],
    *,
    true_energy: ArrayLike,
    response: ArrayLike,
    weight: ArrayLike | None = None,
) -> None:
    """Fill true energies [GeV] (rows,) and measured responses (rows,).

    Raises:
        DataError: if a value is NaN.
        ShapeError: if the lengths differ.
    """
    columns = {"true_energy": true_energy, "response": response}
    fill(histogram, weight, categories={}, values=columns)


def uncertainty_pair(first: str, second: str) -> Hist[Any]:
    """Return the empty histogram of the relative uncertainties of two methods for the same objects.

    Args:
        first: Name of the method on the axis first.
        second: Name of the method on the axis second.

    Returns:
        Axes kind, first, second (each 160 bins of equal ratio, 1e-3 to 10).
    """
    edges = np.geomspace(1e-3, 10.0, 161)
    axes = [
        hist.axis.Variable(edges, name=name, label=rf"$\sigma\,/\,R$, {method}", metadata="log")
        for name, method in (("first", first), ("second", second))
    ]
    return histogram(category_axis("kind", KINDS, label="Uncertainty"), *axes)


def fill_uncertainty_pair(
    histogram: Hist[Any],
    *,
    kind: str,
    first: ArrayLike,
    second: ArrayLike,
    weight: ArrayLike | None = None,
) -> None:
    """Fill the relative uncertainties of one kind that two methods give the same objects.

    Args:
        histogram: What `uncertainty_pair` returned; changed in place.
        kind: total, systematic or statistical.
        first: Relative uncertainties of the first method (rows,).
        second: Relative uncertainties of the second method (rows,).
        weight: Event weights (rows,).

    Raises:
        DataError: if the kind is unknown, or a value is NaN.
        ShapeError: if the lengths differ.
    """
    columns = {"first": first, "second": second}
    fill(histogram, weight, categories={"kind": kind}, values=columns)


def coverage(variable: str, *, methods: Sequence[str]) -> Hist[Any]:
    """Return the empty histogram of truths in and out of predicted intervals.

    Args:
        variable: One of `VARIABLES`.
        methods: Names of the methods.

    Returns:
        Axes method, truth (outside, inside), `variable`.

    Raises:
        ConfigError: if the variable is unknown or a method stands twice.
    """
    return histogram(
        category_axis("method", methods, label="Method"),
        category_axis("truth", _TRUTHS, label="Truth"),
        variable_axis(variable),
    )


def fill_coverage(
    histogram: Hist[Any],
    *,
    method: str,
    values: ArrayLike,
    inside: ArrayLike,
    weight: ArrayLike | None = None,
) -> None:
    """Fill whether the truth lies in the interval that a method predicts.

    Args:
        histogram: What `coverage` returned; changed in place.
        method: One of its methods.
        values: The variable (rows,).
        inside: True where the truth is inside (rows,).
        weight: Event weights (rows,).

    Raises:
        DataError: if the method is unknown, a value is NaN, or `inside` neither true nor false.
        ShapeError: if the lengths differ.
    """
    columns, is_inside = np.asarray(values, dtype=np.float64), cast(inside, bool, what="inside")
    weights = np.ones(columns.shape) if weight is None else np.asarray(weight, dtype=np.float64)
    if not columns.shape == is_inside.shape == weights.shape:
        msg = (
            f"columns to fill must be of one length, got values {columns.shape}, inside "
            f"{is_inside.shape}, weight {weights.shape}."
        )
        raise ShapeError(msg)
    for truth, rows in zip(_TRUTHS, (~is_inside, is_inside), strict=True):
        where = {"method": method, "truth": truth}
        fill(
            histogram,
            weights[rows],
            categories=where,
            values={histogram.axes[2].name: columns[rows]},
        )


def pit(methods: Sequence[str]) -> Hist[Any]:
    """Return the empty histogram of the probability integral transform: axes method, pit.

    50 bins on [0, 1]: the predicted probability of a value below the truth, uniform if the
    predicted density is right.

    Raises:
        ConfigError: if a method stands twice.
    """
    edges = np.linspace(0.0, 1.0, 51)
    edges[-1] = np.nextafter(1.0, 2.0)
    axis = hist.axis.Variable(edges, name="pit", label="PIT", flow=False)
    return histogram(category_axis("method", methods, label="Method"), axis)


def fill_pit(
    histogram: Hist[Any], *, method: str, pit: ArrayLike, weight: ArrayLike | None = None
) -> None:
    """Fill the probability integral transforms (rows,) of one method.

    Raises:
        DataError: if the method is unknown, or a value is NaN or outside [0, 1].
        ShapeError: if the lengths differ.
    """
    values = np.asarray(pit, dtype=np.float64)
    outside = (values < 0.0) | (values > 1.0)
    if outside.any():
        row = int(outside.argmax())
        msg = f"method {method!r}: PIT {values[row]} in row {row} is outside [0, 1]."
        raise DataError(msg)
    fill(histogram, weight, categories={"method": method}, values={"pit": values})
