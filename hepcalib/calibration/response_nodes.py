"""The average measurement for given truths, from samples in bins of the truth."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hepcalib.calibration.fitted_mode import fitted_mode
from hepcalib.calibration.sample_location import sample_mean, sample_quantiles
from hepcalib.exceptions import DataError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import ArrayLike

__all__ = ["STATISTICS", "ResponseSample", "bins_of", "cell_name", "response_nodes"]

Floats: TypeAlias = NDArray[np.float64]


def _median(values: Floats, weight: Floats) -> Floats:
    return sample_quantiles(values, [0.5], weight=weight)[..., 0]


def _mode(values: Floats, weight: Floats) -> Floats:
    return np.asarray(fitted_mode(values, weight))


STATISTICS: Mapping[str, Callable[[Floats, Floats], Floats]] = {
    "mean": sample_mean,
    "median": _median,
    "mode": _mode,
}
"""What a response can be the average of."""


class ResponseSample(NamedTuple):
    """Truths, measurements and weights, (rows,) each, and the values of auxiliary variables."""

    true: Floats
    measured: Floats
    weight: Floats
    auxiliary: Mapping[str, Floats]

    @classmethod
    def of(
        cls,
        true: ArrayLike,
        measured: ArrayLike,
        *,
        weight: ArrayLike | None = None,
        auxiliary: Mapping[str, ArrayLike],
    ) -> ResponseSample:
        """Return the sample of columns, once they have one length.

        Raises:
            ShapeError: if the lengths differ.
        """
        x, y = np.asarray(true, dtype=np.float64), np.asarray(measured, dtype=np.float64)
        w = np.ones_like(x) if weight is None else np.asarray(weight, dtype=np.float64)
        others = {k: np.asarray(values, dtype=np.float64) for k, values in auxiliary.items()}
        shapes = {column.shape for column in (x, y, w, *others.values())}
        if len(shapes) > 1 or x.ndim != 1:
            msg = f"numerical inversion: columns of shapes {sorted(shapes)}; needed: (rows,) each"
            raise ShapeError(msg)
        return cls(x, y, w, others)


def response_nodes(
    sample: ResponseSample,
    edges: Mapping[str, Floats],
    *,
    statistic: str,
    spacing: str,
    minimum_entries: int,
) -> tuple[Floats, Floats]:
    """Return the mean truth of each bin of the truth, and the average measurement there.

    Args:
        sample: Truths, measurements, weights and auxiliary variables.
        edges: Bin edges of the auxiliary variables and, last, of "true".
        statistic: mean, median or mode.
        spacing: "log" to average measured / true, "linear" to average measured - true.
        minimum_entries: Rows that each bin needs.

    Returns:
        (bins of the truth,) and (bins of the auxiliary variables ..., bins of the truth).

    Raises:
        DataError: if a bin has too few rows.
    """
    log = spacing == "log"
    places = [bins_of(sample.auxiliary[name], own) for name, own in list(edges.items())[:-1]]
    places.append(bins_of(sample.true, edges["true"]))
    middles = np.array([_middle(sample, places[-1] == k, log) for k in _numbers(edges["true"])])
    offset = sample.measured / sample.true if log else sample.measured - sample.true
    found = np.empty([len(own) - 1 for own in edges.values()])
    for cell in itertools.product(*(_numbers(own) for own in edges.values())):
        rows = np.all([own == k for own, k in zip(places, cell, strict=True)], axis=0)
        if rows.sum() < max(1, minimum_entries):
            msg = (
                f"numerical inversion: {rows.sum()} rows in bin {cell_name(cell, edges)}; needed: "
                f"{max(1, minimum_entries)}. Widen the bins"
            )
            raise DataError(msg)
        average = STATISTICS[statistic](offset[rows], sample.weight[rows])
        middle = middles[cell[-1]]
        found[cell] = average * middle if log else average + middle
    return middles, found


def bins_of(values: NDArray[Any], edges: NDArray[Any]) -> NDArray[np.int64]:
    """Return the number of the bin of each value, -1 below and the number of bins above."""
    return np.asarray(np.searchsorted(edges, values, side="right") - 1, dtype=np.int64)


def cell_name(cell: tuple[int, ...], edges: Mapping[str, NDArray[Any]]) -> str:
    """Return how a message names a cell: the interval of each variable."""
    return ", ".join(
        f"{name} [{own[k]:g}, {own[k + 1]:g})"
        for k, (name, own) in zip(cell, edges.items(), strict=True)
    )


def _numbers(edges: Floats) -> Iterator[int]:
    return iter(range(len(edges) - 1))


def _middle(sample: ResponseSample, rows: NDArray[np.bool_], log: bool) -> float:
    """Return the mean truth of some rows, geometric where the response is a ratio."""
    values, weight = sample.true[rows], sample.weight[rows]
    if log:
        return float(np.exp(sample_mean(np.log(values), weight)))
    return float(sample_mean(values, weight))
