"""Residual corrections, as files of correctionlib, applied to what a model has calibrated."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import correctionlib
import numpy as np

from hepcalib import documents
from hepcalib.exceptions import ConfigError, DataError, DocumentError
from hepcalib.processors.columns import floats

if TYPE_CHECKING:
    import awkward as ak
    from numpy.typing import NDArray

__all__ = ["corrected"]

_LARGEST = 1 << 24  # of a file [bytes]


def corrected(
    path: str, objects: ak.Array, calibrated: NDArray[np.float64], *, quantity: str
) -> NDArray[np.float64]:
    """Return calibrated values times their residual correction: (rows,) [GeV].

    Args:
        path: The file; its one correction depends on `<quantity>_calibrated` and on standard
            columns.
        objects: Standard columns, one object per row.
        calibrated: What the model made of the measured values [GeV].
        quantity: What is calibrated, such as pt.

    Raises:
        ConfigError: if the file is none of correctionlib, or of another quantity.
        DataError: if a column that the correction depends on is missing or not finite.
    """
    correction = _correction(path)
    columns = {f"{quantity}_calibrated": calibrated}
    names = [variable.name for variable in correction.inputs]
    if names[:1] != list(columns):
        msg = f"{path}: corrects {names[0]}; the model calibrates {quantity}"
        raise ConfigError(msg)
    for name in names[1:]:
        if name not in objects.fields:
            msg = f"{path}: depends on '{name}', which the objects do not have"
            raise DataError(msg)
        columns[name] = floats(objects, name)
        bad = ~np.isfinite(columns[name])
        if bad.any():
            row = int(bad.argmax())
            msg = f"{path}: '{name}' of row {row} is {columns[name][row]}; needed: a finite number"
            raise DataError(msg)
    factor = correction.evaluate(*(columns[name] for name in names))
    return calibrated * np.asarray(factor, dtype=np.float64)


@functools.cache
def _correction(path: str) -> Any:
    """Return the one correction of a file, read once per process."""
    try:
        text = documents.content(path, limit=_LARGEST)
        documents.parsed(text, finite=False)  # correctionlib does not survive a deep nesting
        found = correctionlib.CorrectionSet.from_string(text.decode())
    except (DocumentError, IndexError, RuntimeError) as error:
        msg = f"{path}: cannot be read as a file of correctionlib: {error}"
        raise ConfigError(msg) from error
    names = list(found)
    if len(names) != 1:
        msg = f"{path}: holds the corrections {names}; needed: one"
        raise ConfigError(msg)
    return found[names[0]]
