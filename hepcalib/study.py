"""What an analysis shows for itself: figures of merit, figures, and a line for each main number."""

from __future__ import annotations

from dataclasses import asdict, is_dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hist import Hist
    from matplotlib.figure import Figure

__all__ = ["Studied", "Study", "plain"]


class Study(NamedTuple):
    """The outcome of an analysis, computed from its histograms alone.

    `metrics` are NamedTuples or plain values, `figures` are keyed by file name without suffix,
    `summary` maps the name of a main number to how it reads.
    """

    metrics: Mapping[str, Any]
    figures: Mapping[str, Figure]
    summary: Mapping[str, str]


@runtime_checkable
class Studied(Protocol):
    """A processor that turns its own histograms into a study."""

    @staticmethod
    def study(histograms: Mapping[str, Hist[Any]]) -> Study:
        """Return the study of the processor's histograms."""
        ...


def plain(value: Any) -> Any:
    """Return a value as JSON can hold it; what is not finite becomes null."""
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        value = value._asdict()
    elif is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
