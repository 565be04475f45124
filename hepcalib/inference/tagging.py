"""Scores of jets from any tagger: a model, a column, or either of them decorrelated."""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from hepcalib.decorrelation import METHODS, Decorrelator
from hepcalib.exceptions import BundleError, ConfigError, DataError
from hepcalib.features.table import Table, objects_per_event
from hepcalib.inference.prediction import placed, predict

if TYPE_CHECKING:
    from collections.abc import Mapping

    import awkward as ak
    from numpy.typing import NDArray

    from hepcalib.bundles import Bundle
    from hepcalib.inference.handles import Handle

__all__ = ["DecorrelatedTagger", "Tagger", "decorrelator_text", "old_score", "tag"]

VERSION = 1


@dataclass(frozen=True)
class DecorrelatedTagger:
    """Where a decorrelator is, and what it acts on: all a worker needs, picklable and small.

    Args:
        path: The file of the decorrelator.
        sha256: Of that file.
        tagger: The tagger whose score it changes; None for a column.
        column: A standard column that is used as score.
        rises: Whether signal has high values in that column.
    """

    path: str
    sha256: str
    tagger: Handle | None = None
    column: str = ""
    rises: bool = True

    @classmethod
    def of(
        cls,
        path: str | Path,
        *,
        tagger: Handle | None = None,
        column: str = "",
        rises: bool = True,
    ) -> DecorrelatedTagger:
        """Return the handle of the decorrelator that is at this path now.

        Raises:
            BundleError: if it cannot be read.
        """
        sha256 = hashlib.sha256(_read(str(path))).hexdigest()
        return cls(str(Path(path).absolute()), sha256, tagger, column, rises)


Tagger: TypeAlias = "Bundle | Handle | DecorrelatedTagger | Path | str"


def tag(tagger: Tagger, columns: Any, *, device: str = "auto", where: str = "") -> ak.Array:
    """Return the scores of jets.

    Args:
        tagger: A bundle or where it is, or a decorrelated tagger.
        columns: Standard columns of jets (GeV, mm, ns), one per row or `events * var * {...}`.
        device: "auto" (a GPU where there is one), "cpu" or "cuda".
        where: What the columns are, such as file and entries; begins the message of an error.

    Returns:
        Record array with the structure of `columns`: `score` in [0, 1], `score_stat` (the spread of
        the members, propagated to the new score) and `in_range` (of inputs and nuisances).

    Raises:
        BundleError: if bundle or decorrelator cannot be read, or were replaced.
        DataError: if a column is missing, an input or a result is not finite.
        ConfigError: if the model is no tagger.
    """
    import awkward as ak

    if not isinstance(tagger, DecorrelatedTagger):
        answer = predict(tagger, columns, device=device, where=where)
        if "score" not in answer.fields:
            msg = f"{where}: the model is no tagger; needed: one that returns a score"
            raise ConfigError(msg)
        return answer[["score", "score_stat", "in_range"]]
    decorrelator = resident_decorrelator(tagger.path, tagger.sha256)
    counts = objects_per_event(columns)
    flat = columns if counts is None else ak.flatten(columns, axis=1)
    score, spread, in_range = old_score(tagger, flat, device=device, where=where)
    with placed(where):
        table = Table(flat)
        nuisances = {name: table[name] for name in decorrelator.variables}
        new = decorrelator(score, nuisances)
        ends = [decorrelator(score + sign * spread, nuisances) for sign in (-1.0, 1.0)]
    record = ak.zip(
        {
            "score": new,
            "score_stat": 0.5 * (ends[1] - ends[0]),
            "in_range": in_range & decorrelator.in_range(nuisances),
        },
        depth_limit=1,
    )
    return record if counts is None else ak.unflatten(record, counts)


def old_score(
    tagger: DecorrelatedTagger, jets: Any, *, device: str = "auto", where: str = ""
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.bool_]]:
    """Return score, spread and validity before the decorrelation, one jet per row, (rows,) each."""
    if tagger.tagger is not None:
        answer = tag(tagger.tagger, jets, device=device, where=where)
        return (
            np.asarray(answer["score"], dtype=np.float64),
            np.asarray(answer["score_stat"], dtype=np.float64),
            np.asarray(answer["in_range"], dtype=bool),
        )
    with placed(where):
        values = Table(jets)[tagger.column]
        bad = ~np.isfinite(values)
        if bad.any():
            row = int(bad.argmax())
            msg = f"column '{tagger.column}' is {values[row]} in row {row}; needed: a finite score"
            raise DataError(msg)
    score = values if tagger.rises else -values
    return score, np.zeros(len(score)), np.ones(len(score), dtype=bool)


def decorrelator_text(
    method: str, decorrelator: Decorrelator, provenance: Mapping[str, Any]
) -> str:
    """Return the file of a decorrelator: its method, its state, and how it came about."""
    document = {
        "version": VERSION,
        "method": method,
        "state": decorrelator.state,
        "provenance": dict(provenance),
    }
    return json.dumps(document, indent=1, allow_nan=False)


@functools.cache
def resident_decorrelator(path: str, sha256: str) -> Decorrelator:
    """Return a decorrelator, read once per process.

    Raises:
        BundleError: if it cannot be read, or is not the one of this sha256.
    """
    content = _read(path)
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        msg = f"{path}: the decorrelator has sha256 {found}, {sha256} was asked for"
        raise BundleError(msg)
    try:
        document = json.loads(content)
        if document["version"] != VERSION:
            msg = f"{path}: version {document['version']}; this program reads {VERSION}"
            raise BundleError(msg)
        return METHODS[document["method"]].from_state(document["state"])
    except (ConfigError, KeyError, TypeError, ValueError) as error:
        msg = f"{path}: is no decorrelator: {error}"
        raise BundleError(msg) from error


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        msg = f"{path}: cannot be read: {error.strerror}"
        raise BundleError(msg) from error
