"""What a run keeps of the outputs of processors: histograms, and all that counts beside them."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any

import awkward as ak
import boost_histogram as bh
import numpy as np
from coffea.processor.accumulator import AccumulatorABC
from hist import Hist

from hepcalib import hists
from hepcalib.exceptions import OutputError
from hepcalib.study import plain

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["check_output", "separated"]

_ALLOWED = (
    "histograms, numbers, sets, lists, arrays of numbers, accumulators of coffea, and mappings of "
    "these with names as keys"
)


def check_output(analysis: str, output: Any, *, known: set[str]) -> None:
    """Refuse an output that no file of a run can hold, or that does not add up.

    Args:
        analysis: Name of the analysis.
        output: What its processor returned for one chunk.
        known: Names of the histograms that need no further look; those that were looked at now
            are added.

    Raises:
        OutputError: naming the analysis, the key, and what is allowed.
    """
    found, counters = separated(analysis, output)
    for name in found.keys() - known:
        try:
            hists.from_json(hists.to_json({name: found[name]}))
        except Exception as error:
            msg = f"analysis '{analysis}': histogram '{name}' cannot be written: {error}"
            raise OutputError(msg) from error
        known.add(name)
    for text in _texts(counters):
        msg = f"analysis '{analysis}': the text {text!r} does not add up; a processor returns "
        raise OutputError(msg + _ALLOWED)


def _texts(counters: Mapping[str, Any]) -> Iterator[str]:
    """Yield the texts outside of lists."""
    for value in counters.values():
        if isinstance(value, dict):
            yield from _texts(value)
        elif isinstance(value, str):
            yield value


def separated(analysis: str, output: Any) -> tuple[dict[str, Hist[Any]], dict[str, Any]]:
    """Return the histograms of an output, and the rest of it as JSON can hold it.

    Histograms in mappings get the names of their keys, joined by a slash; the rest keeps its form.

    Raises:
        OutputError: for what is neither.
    """
    if not isinstance(output, Mapping):
        msg = f"analysis '{analysis}': the processor returned {type(output).__name__}; needed: "
        raise OutputError(msg + "a dict of " + _ALLOWED)
    found: dict[str, Hist[Any]] = {}
    return found, _split(analysis, output, "", found)


def _split(
    analysis: str, output: Mapping[Any, Any], prefix: str, found: dict[str, Hist[Any]]
) -> dict[str, Any]:
    rest: dict[str, Any] = {}
    for key, value in output.items():
        name = f"{prefix}{key}"
        if not isinstance(key, (str, int, np.integer)) or not str(key) or str(key) in rest:
            msg = f"analysis '{analysis}': key {key!r}; needed: names or whole numbers, each once"
            raise OutputError(msg)
        if isinstance(value, bh.Histogram):
            if name in found:
                msg = f"analysis '{analysis}': two histograms are named '{name}'"
                raise OutputError(msg)
            found[name] = value if isinstance(value, Hist) else Hist(value)
        elif isinstance(value, Mapping):
            inner = _split(analysis, value, f"{name}/", found)
            if inner or not value:
                rest[str(key)] = inner
        else:
            rest[str(key)] = _counted(f"analysis '{analysis}': '{name}'", value)
    return rest


def _counted(where: str, value: Any) -> Any:
    """Return what counts as numbers, texts and lists of them."""
    if isinstance(value, AccumulatorABC) and hasattr(value, "value"):
        value = value.value
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return plain(value)
    if isinstance(value, (str, numbers.Integral, float, np.floating, np.bool_)):
        return plain(float(value)) if isinstance(value, np.floating) else plain(value)
    if isinstance(value, ak.Array):
        value = ak.to_list(value)
    if isinstance(value, AbstractSet):
        return sorted((_counted(where, item) for item in value), key=lambda v: (str(type(v)), v))
    if isinstance(value, (list, tuple)):
        return [_counted(where, item) for item in value]
    msg = f"{where} is {type(value).__name__}, which no file of a run holds; a processor returns "
    raise OutputError(msg + _ALLOWED)
