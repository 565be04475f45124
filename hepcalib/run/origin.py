"""Where the code of a module is from: an installation that workers have too, or the user."""

from __future__ import annotations

import json
import sys
import sysconfig
from importlib.metadata import distribution, packages_distributions
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlparse

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

__all__ = ["is_installed"]


def is_installed(module: ModuleType) -> bool:
    """Tell whether a module is hepcalib's, Python's or that of an installed package.

    Its files decide, not its name: a user's folder may be called as an installed package is.
    """
    top = module.__name__.partition(".")[0]
    file = _file(sys.modules.get(top, module))
    if top == "hepcalib" or file is None:
        return True
    if top in sys.stdlib_module_names:
        folders = (sysconfig.get_path(name) for name in ("stdlib", "platstdlib"))
        return any(file.is_relative_to(Path(folder).resolve()) for folder in folders)
    folder = file.parent
    return any(folder in _folders(name) for name in packages_distributions().get(top, ()))


def _file(module: ModuleType) -> Path | None:
    """Return a module's file or a package's folder; None if it is built into Python."""
    paths = list(getattr(module, "__path__", ()))
    found = paths[0] if paths else getattr(module, "__file__", None)
    return None if found is None else Path(found).resolve()


def _folders(name: str) -> Iterator[Path]:
    """Yield the folders that hold what a distribution installs, also one in place (editable)."""
    found = distribution(name)
    yield Path(str(found.locate_file(""))).resolve()
    url = json.loads(found.read_text("direct_url.json") or "{}")
    if url.get("dir_info", {}).get("editable"):
        root = Path(unquote(urlparse(url["url"]).path)).resolve()
        yield from (root, root / "src")
