"""Histograms as text in the UHI format, and as the plain ones that other tools read."""

from __future__ import annotations

import itertools
import json
import math
from typing import TYPE_CHECKING, Any, cast

import hist
import numpy as np
import uhi.io
import uhi.io.json

from hepcalib import documents
from hepcalib.exceptions import DataError, DocumentError, ShapeError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hist import Hist

__all__ = ["from_json", "projections", "to_json"]

# What boost-histogram raises of a mapping that is no histogram.
_UNLIKE_UHI = (
    ArithmeticError,
    AttributeError,
    IndexError,
    KeyError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
)


_CELLS = 1 << 26  # of a histogram that only its filled bins are written of: 1 GiB of them
_FILLED = 0.25  # the largest share of filled bins for that,
_ROWS = 10_000  # unless there are more rows of bins, each of which would be a list of its own


def to_json(histograms: Mapping[str, Hist[Any]]) -> str:
    """Return histograms as a JSON object of names to UHI histograms; the round trip is exact.

    Of a histogram that is mostly empty, or very large, only the filled bins are there (sparse in
    UHI).
    """
    tables = {name: _table(histogram) for name, histogram in histograms.items()}
    return json.dumps(tables, default=uhi.io.json.default, separators=(",", ":"))


def _table(histogram: Hist[Any]) -> Any:
    values = np.asarray(histogram.values(flow=True))
    empty = np.count_nonzero(values) < _FILLED * values.size
    large = values.size > _ROWS * values.shape[-1]
    if 1000 < values.size <= _CELLS and (empty or large):
        return uhi.io.to_sparse(uhi.io.json.default(histogram))
    return histogram


def from_json(text: str) -> dict[str, Hist[Any]]:
    """Return the histograms that `to_json` wrote.

    Raises:
        DataError: if the text is not a JSON object of UHI histograms.
    """
    try:
        tables = documents.parsed(text.encode(), finite=False)
        return {name: _histogram(table) for name, table in tables.items()}
    except (DocumentError, *_UNLIKE_UHI) as error:
        msg = f"not a JSON object of UHI histograms: {error!r}. It must come from hepcalib."
        raise DataError(msg) from error


def _histogram(table: Mapping[str, Any]) -> Hist[Any]:
    """Return a histogram, once its axes have no more bins than there are values, or are few."""
    values = np.asarray(table["storage"]["values"])
    bins = math.prod(max(1, _bins(axis)) for axis in table["axes"])
    sparse = "index" in table["storage"]
    if values.dtype.kind not in "biuf" or bins > (_CELLS if sparse else max(1, values.size)):
        msg = f"{bins} bins of {values.size} values of type {values.dtype}"
        raise ValueError(msg)
    return hist.Hist(_dense(dict(table)) if sparse else dict(table))


def _dense(table: dict[str, Any]) -> dict[str, Any]:
    """Return a table of all bins from one of the filled bins.

    Raises:
        ValueError: if a bin is beyond the axes, is there twice, or has not all of its numbers.
    """
    storage, flow = table["storage"], ("underflow", "overflow", "flow")
    shape = [_bins(axis) + sum(bool(axis.get(key)) for key in flow) for axis in table["axes"]]
    index = np.asarray(storage["index"])
    columns = {key: np.asarray(storage[key]) for key in storage if key not in ("index", "type")}
    if index.dtype.kind != "i" and index.size:
        msg = f"bins of type {index.dtype}"
        raise ValueError(msg)
    places = np.ravel_multi_index(tuple(index.astype(np.intp)), tuple(shape))  # refuses others
    if np.unique(places).size < places.size:
        msg = "a bin is there twice"
        raise ValueError(msg)
    if any(column.shape != places.shape for column in columns.values()):
        msg = f"{places.size} bins, of which some have no number"
        raise ValueError(msg)
    return uhi.io.from_sparse(table)


def _bins(axis: Mapping[str, Any]) -> int:
    """Return the number of bins, without flow."""
    if axis["type"] == "boolean":
        return 2
    if axis["type"] == "variable":
        exact = axis.get("writer_info", {}).get("boost-histogram", {}).get("bins", 0)
        return max(len(axis["edges"]) - 1, int(exact))
    return int(axis["bins"]) if axis["type"] == "regular" else len(axis["categories"])


def projections(histograms: Mapping[str, Hist[Any]]) -> dict[str, Hist[Any]]:
    """Return histograms without category axes, of at most three dimensions, as ROOT has them.

    Where there are only category axes, as in a cutflow, they stay. Else each combination of
    categories becomes one histogram: response_true_energy with a scale EM gives
    response_true_energy_EM. Blanks in names become underscores.

    Raises:
        ShapeError: if there is no axis, or more than three remain.
        DataError: if two histograms would get the same name.
    """
    plain: dict[str, Hist[Any]] = {}
    for name, histogram in histograms.items():
        categories = {
            place: [str(category) for category in axis]
            for place, axis in enumerate(histogram.axes)
            if isinstance(axis, hist.axis.StrCategory)
        }
        if len(categories) == len(histogram.axes):
            categories = {}
        remaining = len(histogram.axes) - len(categories)
        if not 1 <= remaining <= 3:
            msg = f"histogram {name!r} has {remaining} axes beside its categories; ROOT has 1 to 3."
            raise ShapeError(msg)
        for chosen in itertools.product(*(range(len(known)) for known in categories.values())):
            indices: dict[int | str, Any] = dict(zip(categories, chosen, strict=True))
            words = [known[index] for known, index in zip(categories.values(), chosen, strict=True)]
            key = "_".join((name, *words)).replace(" ", "_")
            if key in plain:
                msg = f"two histograms would be named {key!r}; rename a category of {name!r}."
                raise DataError(msg)
            plain[key] = cast("Hist[Any]", histogram[indices]) if indices else histogram.copy()
    return plain
