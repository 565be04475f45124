"""Scores of jets from any tagger: a model, a column, or either of them decorrelated."""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from hepcalib import documents
from hepcalib.decorrelation import METHODS, Decorrelator
from hepcalib.exceptions import BundleError, ConfigError, DataError, DocumentError, HepcalibError
from hepcalib.features.table import Table, objects_per_event
from hepcalib.inference.handles import Handle
from hepcalib.inference.prediction import placed, predict
from hepcalib.settings import own_settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    import awkward as ak
    from numpy.typing import NDArray

    from hepcalib.bundles import Bundle

    Floats = NDArray[np.float64]

__all__ = ["DecorrelatedTagger", "Tagger", "decorrelator_text", "old_score", "tag", "tag_each"]

VERSION = 1
_LARGEST = 1 << 24  # of a file [bytes]
# What numbers that fit in kind, but not together, lead to.
_UNFIT = (ArithmeticError, IndexError, KeyError, MemoryError, RuntimeError, TypeError, ValueError)


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
    return tag_each({"tagger": tagger}, columns, device=device, where=where)["tagger"]


@own_settings()
def tag_each(
    taggers: Mapping[str, Tagger], columns: Any, *, device: str = "auto", where: str = ""
) -> dict[str, ak.Array]:
    """Return the scores of jets from several taggers; a model that some of them share runs once.

    That is so for the models that are given as handles.

    Args:
        taggers: Taggers by name, as for `tag`.
        columns: Standard columns of jets (GeV, mm, ns), one per row or `events * var * {...}`.
        device: "auto" (a GPU where there is one), "cpu" or "cuda".
        where: What the columns are, such as file and entries; begins the message of an error.

    Returns:
        The record array of each tagger, as from `tag`.

    Raises:
        BundleError: if bundle or decorrelator cannot be read, or were replaced.
        DataError: if a column is missing, an input or a result is not finite.
        ConfigError: if a model is no tagger.
    """
    models: dict[Handle, ak.Array] = {}

    def of_model(model: Bundle | Handle | Path | str) -> ak.Array:
        if not isinstance(model, Handle):
            return _of_model(model, columns, device=device, where=where)
        if model not in models:
            models[model] = _of_model(model, columns, device=device, where=where)
        return models[model]

    answers = {}
    for name, tagger in taggers.items():
        if isinstance(tagger, DecorrelatedTagger):
            old = None if tagger.tagger is None else of_model(tagger.tagger)
            answers[name] = _decorrelated(tagger, columns, old, where=where)
        else:
            answers[name] = of_model(tagger)
    return answers


def _of_model(
    model: Bundle | Handle | Path | str, columns: Any, *, device: str, where: str
) -> ak.Array:
    answer = predict(model, columns, device=device, where=where)
    if "score" not in answer.fields:
        msg = f"{where}: the model is no tagger; needed: one that returns a score"
        raise ConfigError(msg)
    return answer[["score", "score_stat", "in_range"]]


def _decorrelated(
    tagger: DecorrelatedTagger, columns: Any, answer: ak.Array | None, *, where: str
) -> ak.Array:
    """Return what a decorrelator makes of the answer of its model, or of its column."""
    import awkward as ak

    decorrelator = resident_decorrelator(tagger.path, tagger.sha256)
    counts = objects_per_event(columns)
    flat, old = (
        part if counts is None or part is None else ak.flatten(part, axis=1)
        for part in (columns, answer)
    )
    score, spread, in_range = _floats(old) if old is not None else _column(tagger, flat, where)
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
) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """Return score, spread and validity before the decorrelation, one jet per row, (rows,) each."""
    if tagger.tagger is None:
        return _column(tagger, jets, where)
    return _floats(_of_model(tagger.tagger, jets, device=device, where=where))


def _floats(answer: ak.Array) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    return (
        np.asarray(answer["score"], dtype=np.float64),
        np.asarray(answer["score_stat"], dtype=np.float64),
        np.asarray(answer["in_range"], dtype=bool),
    )


def _column(
    tagger: DecorrelatedTagger, jets: Any, where: str
) -> tuple[Floats, Floats, NDArray[np.bool_]]:
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
        document = documents.parsed(content)
        version = document.get("version") if isinstance(document, dict) else None
        if version != VERSION:
            msg = f"version {version}; this program reads {VERSION}"
            raise ConfigError(msg)
        made = METHODS[document["method"]].from_state(document["state"])
        _try(made)
    except (HepcalibError, *_UNFIT) as error:
        msg = f"{path}: is no decorrelator: {error}"
        raise BundleError(msg) from error
    return made


@own_settings()
def _try(decorrelator: Decorrelator) -> None:
    """Refuse a decorrelator that has no finite scores in the middle of its ranges."""
    middle = [[0.5 * low + 0.5 * high] * 3 for low, high in decorrelator.ranges]
    with np.errstate(all="ignore"):
        nuisances = dict(zip(decorrelator.variables, middle, strict=True))
        scores = decorrelator(np.array([0.0, 0.5, 1.0]), nuisances)
    if not np.isfinite(scores).all():
        msg = f"its scores are {scores.tolist()}"
        raise ConfigError(msg)


def _read(path: str) -> bytes:
    try:
        return documents.content(path, limit=_LARGEST)
    except DocumentError as error:
        msg = f"{path}: {error}"
        raise BundleError(msg) from error
