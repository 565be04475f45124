"""Columns in and out of a chunk: plain arrays, and the saved part."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hepcalib import ntuples
from hepcalib.inference.prediction import RESPONSE_FIELDS

if TYPE_CHECKING:
    from collections.abc import Mapping

    import awkward as ak
    from numpy.typing import NDArray

__all__ = ["calibrated_columns", "floats", "in_place", "save_columns"]


def floats(objects: ak.Array, column: str) -> NDArray[np.float64]:
    """Return a column of a flat record as a float64 array."""
    return np.asarray(objects[column], dtype=np.float64)


def calibrated_columns(
    answer: ak.Array, measured: NDArray[np.float64], *, quantity: str
) -> dict[str, NDArray[Any]]:
    """Return a calibrated quantity with its uncertainties [GeV], and what follows it.

    The others are named as those of a prediction: the response R with the ends of its interval, and
    mean and uncertainties of the variable that the model was trained for.

    Args:
        answer: What `inference.predict` returned for a response model.
        measured: The measured quantity [GeV] (rows,).
        quantity: What it is; begins the names of the columns in GeV.
    """
    response = floats(answer, "response")
    columns: dict[str, NDArray[Any]] = {f"{quantity}_calibrated": measured / response}
    for suffix in ("stat", "syst", "tot"):
        relative = floats(answer, f"sigma_{suffix}") / response
        columns[f"{quantity}_sigma_{suffix}"] = columns[f"{quantity}_calibrated"] * relative
    others = [name for name in RESPONSE_FIELDS if not name.startswith("sigma_")]
    return columns | {name: np.asarray(answer[name]) for name in others}


def in_place(values: NDArray[Any], kept: NDArray[np.bool_]) -> NDArray[Any]:
    """Return the values of the objects that were kept, NaN (False for bool) in the other places.

    Args:
        values: One per object that was kept, float64 or bool.
        kept: Which of all objects they are (rows,).
    """
    full = np.full(kept.shape, False if values.dtype == bool else np.nan, dtype=values.dtype)
    full[kept] = values
    return full


def save_columns(folder: str, events: ak.Array, columns: Mapping[str, NDArray[Any]]) -> None:
    """Save the per-object output of a chunk into the folder of its dataset."""
    ntuples.save_part(Path(folder) / events.metadata["dataset"], events.metadata, columns)
