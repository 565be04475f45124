"""The errors of hepcalib; none is an OSError, which coffea may take for a bad file and skip."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "BundleError",
    "CollapseWarning",
    "ConfigError",
    "DataError",
    "HepcalibError",
    "NtupleError",
    "RunError",
    "ScopeWarning",
    "ShapeError",
    "TrainingError",
    "suggestion",
]


class HepcalibError(Exception):
    """Any error that hepcalib raises on purpose."""


class ConfigError(HepcalibError):
    """A configuration that cannot be meant: unknown key, unknown name, value out of range."""


class NtupleError(HepcalibError):
    """A file, tree or branch that is missing, damaged or not what it claims to be."""


class DataError(HepcalibError):
    """Values that no correct result follows from: NaN, broken links, missing truth."""


class ShapeError(HepcalibError):
    """Arrays whose lengths or dimensions do not fit together."""


class BundleError(HepcalibError):
    """A model bundle that is missing, damaged or of another version."""


class TrainingError(HepcalibError):
    """A training that diverged or has nothing to learn from."""


class RunError(HepcalibError):
    """A run that could not process, or account for, all events."""


class ScopeWarning(UserWarning):
    """A method is used for what it cannot do: its result would look better than it is."""


class CollapseWarning(UserWarning):
    """A training with a penalty has ended in a score that does not separate the classes."""


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return the sentence that lists the known names and the nearest one to a mistyped name."""
    names = sorted(known)
    nearest = difflib.get_close_matches(name, names, n=1)
    hint = f" Did you mean '{nearest[0]}'?" if nearest else ""
    return f"Known: {', '.join(names)}.{hint}"
