"""Columns that a configuration names, against those that a layout has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hepcalib.exceptions import ConfigError, suggestion
from hepcalib.ntuples.columns import STANDARD

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from hepcalib.config import Loaded
    from hepcalib.ntuples import Layout

__all__ = ["check_edges", "require_columns", "require_filled"]


def require_columns(
    loaded: Loaded, key: tuple[str, ...], names: Iterable[str], layout: Layout
) -> None:
    """Refuse what is no column, or has more than one value per object."""
    standard = STANDARD[layout.object]
    known = [name for name in layout.available if standard[name].level != "constituent"]
    for name in names:
        if name not in known:
            msg = f"layout '{layout.name}' has no column '{name}' with one value per "
            raise loaded.error(key, f"{msg}{layout.object}. {suggestion(name, known)}")


def require_filled(
    loaded: Loaded, key: tuple[str, ...], names: Collection[str], layout: Layout
) -> None:
    """Refuse columns that no file of a layout fills: without a mapping and a value that is as good.

    Jets without a label are neither background nor signal, so that nothing can be learnt of them.
    """
    try:
        layout.required(names)
    except ConfigError as error:
        raise loaded.error(key, str(error)) from error
    if "label" in names and "label" not in layout.columns:
        raise loaded.error(key, f"layout '{layout.name}' has no labels of its {layout.object}s")


def check_edges(loaded: Loaded, key: tuple[str, ...], edges: tuple[float, ...]) -> None:
    """Refuse bin edges that are too few or do not rise."""
    if len(edges) < 2 or list(edges) != sorted(set(edges)):
        msg = f"bin edges {list(edges)}; needed: at least two, in ascending order"
        raise loaded.error(key, msg)
