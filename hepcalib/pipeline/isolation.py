"""Events of one analysis: what it assigns or changes in place is not seen by the next."""

from __future__ import annotations

import copy
import weakref
from typing import TYPE_CHECKING, Any

import awkward as ak
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["own_events"]


def own_events(events: ak.Array) -> ak.Array:
    """Return the same events with columns, behaviours and metadata of their own.

    What is virtual stays so. A column that is touched is read once for all copies, and copied in
    memory, so that also `numpy.asarray(events.x)[0] = 1` stays inside.
    """
    if not isinstance(events, ak.Array):
        return copy.deepcopy(events)
    form, length, buffers = ak.to_buffers(events)
    factory = copy.copy(events.attrs.get("@events_factory"))
    metadata = form.parameters.get("metadata")
    if metadata is not None:
        form = form.copy(parameters={**form.parameters, "metadata": copy.deepcopy(metadata)})
    own = ak.from_buffers(
        form,
        length,
        {key: _copying(buffer) for key, buffer in buffers.items()},
        behavior=None if events.behavior is None else dict(events.behavior),
        attrs={**events.attrs, "@events_factory": factory},
    )
    if factory is not None:
        factory._events = weakref.ref(own)  # cross references of coffea then stay inside, too
    return own


def _copying(buffer: Any) -> Callable[[], np.ndarray[Any, Any]]:
    def copied() -> np.ndarray[Any, Any]:
        read = buffer.materialize() if hasattr(buffer, "materialize") else buffer
        return np.array(read)

    return copied
