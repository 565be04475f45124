"""Processors as bytes that workers can unpack, also those whose code they cannot import."""

from __future__ import annotations

import pickle
import sys
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import cloudpickle
from coffea.processor import ProcessorABC

from hepcalib.exceptions import RunError
from hepcalib.run.origin import is_installed

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["packed", "unpacked"]


def packed(processor: ProcessorABC) -> bytes:
    """Return a processor as bytes, with its code unless that is in an installed package.

    The code is the module, or the whole package, of the processor's class and of the processors
    among its attributes. What else it imports must be importable where it runs, and a cache in it
    belongs to the unpacked copy: models are cached by hepcalib.

    Raises:
        RunError: if it cannot be pickled.
    """
    try:
        with _by_value(processor):
            return bytes(cloudpickle.dumps(processor))
    except Exception as error:
        msg = (
            f"{type(processor).__name__} cannot be sent to workers: {error}; a processor may keep "
            "only what can be pickled, such as numbers, names and handles of models"
        )
        raise RunError(msg) from error


@lru_cache(maxsize=4)
def unpacked(payload: bytes) -> ProcessorABC:
    """Return the processor; a worker unpacks it once, not for every chunk."""
    return pickle.loads(payload)


@contextmanager
def _by_value(processor: ProcessorABC) -> Iterator[None]:
    """Let cloudpickle take along the modules of a processor that are not installed."""
    modules = {type(part).__module__ for part in _processors(processor)} & set(sys.modules)
    foreign = {name.partition(".")[0] for name in modules if not is_installed(sys.modules[name])}
    with ExitStack() as stack:
        for name in sorted(foreign - cloudpickle.list_registry_pickle_by_value() - {"__main__"}):
            cloudpickle.register_pickle_by_value(sys.modules[name])
            stack.callback(cloudpickle.unregister_pickle_by_value, sys.modules[name])
        yield


def _processors(value: Any) -> Iterator[ProcessorABC]:
    """Yield a processor and those in its attributes, or in dicts and lists among them."""
    if isinstance(value, ProcessorABC):
        yield value
        children = list(getattr(value, "__dict__", {}).values())
    elif isinstance(value, dict):
        children = list(value.values())
    elif isinstance(value, (list, tuple)):
        children = list(value)
    else:
        return
    for child in children:
        yield from _processors(child)
