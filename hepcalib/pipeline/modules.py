"""The module of a processor: hepcalib's own, an installed one, or one in the present folder."""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path
from typing import TYPE_CHECKING

from hepcalib.exceptions import ConfigError
from hepcalib.ntuples.sources import first_line

if TYPE_CHECKING:
    from importlib.machinery import ModuleSpec
    from types import ModuleType

__all__ = ["module_of"]

OURS = "processors"
"""How configurations call `hepcalib.processors`; a user's folder may have the same name."""


def module_of(name: str, member: str) -> ModuleType:
    """Import the module that holds a class; what `processors` names in hepcalib is hepcalib's.

    Args:
        name: The module, such as `processors`, `my_analysis.jets` or `processors.mine`.
        member: The class that is wanted of it.

    Raises:
        ConfigError: if there is no such module, or it fails when it is imported.
    """
    own = _own(name)
    if own is not None and hasattr(own, member):
        return own
    try:
        _look_here(name)
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if own is not None:
            return own
        msg = f"no module '{name}': {error}"
        raise ConfigError(msg) from error
    except (Exception, SystemExit) as error:
        msg = f"module '{name}' fails when it is imported: {first_line(error)}"
        raise ConfigError(msg) from error


def _own(name: str) -> ModuleType | None:
    """Return the module of hepcalib that a name stands for, if there is one."""
    if name.partition(".")[0] != OURS:
        return None
    try:
        return importlib.import_module(f"hepcalib.{name}")
    except ModuleNotFoundError:
        return None


def _look_here(name: str) -> None:
    """Find modules in the present folder; a folder `processors` there is before any other one."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    importlib.invalidate_caches()
    spec = PathFinder.find_spec(OURS, [here]) if name.partition(".")[0] == OURS else None
    if spec is None or _locations(spec) == _locations(
        getattr(sys.modules.get(OURS), "__spec__", None)
    ):
        return
    for loaded in [n for n in sys.modules if n.partition(".")[0] == OURS]:
        del sys.modules[loaded]
    module = sys.modules[OURS] = module_from_spec(spec)
    try:
        if spec.loader is not None:
            spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[OURS]
        raise


def _locations(spec: ModuleSpec | None) -> list[str]:
    if spec is None:
        return []
    return list(spec.submodule_search_locations or [str(spec.origin)])
