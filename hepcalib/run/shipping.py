"""Code of the user for workers on other machines, which cannot import it."""

from __future__ import annotations

import sys
from contextlib import ExitStack, contextmanager
from importlib.metadata import packages_distributions
from typing import TYPE_CHECKING, Any

import cloudpickle
from coffea.processor import ProcessorABC

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["shipped"]

_OURS = frozenset({"hepcalib", "processors"})


@contextmanager
def shipped(processor: ProcessorABC) -> Iterator[tuple[str, ...]]:
    """Send the modules of a processor with the work, unless they are installed packages.

    That is the module, or the whole package, of the processor's class and of the processors among
    its attributes. What else such a module imports must be importable where it runs, and a cache
    in it is filled anew for every chunk: models are cached by hepcalib.

    Yields:
        The names of the top-level modules that travel.
    """
    tops = {type(part).__module__.partition(".")[0] for part in _processors(processor)}
    installed = packages_distributions()
    names = tuple(
        sorted(
            name
            for name in tops
            if name not in installed
            and name not in sys.stdlib_module_names
            and name not in _OURS
            and name in sys.modules
        )
    )
    already = cloudpickle.list_registry_pickle_by_value()
    with ExitStack() as stack:
        for name in names:
            if name not in already and name != "__main__":
                cloudpickle.register_pickle_by_value(sys.modules[name])
                stack.callback(cloudpickle.unregister_pickle_by_value, sys.modules[name])
        yield names


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
