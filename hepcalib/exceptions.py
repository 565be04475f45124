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
    "DocumentError",
    "HepcalibError",
    "NtupleError",
    "OutputError",
    "RunError",
    "ScopeWarning",
    "ShapeError",
    "TrainingError",
    "one_line",
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


class DocumentError(HepcalibError):
    """Bytes that are not what hepcalib writes into such a file; says why, not which file."""

    def __init__(self, reason: str, *, missing: bool = False) -> None:
        super().__init__(reason)
        self.missing = missing


class TrainingError(HepcalibError):
    """A training that diverged or has nothing to learn from."""


class RunError(HepcalibError):
    """A run that could not process, or account for, all events."""


class OutputError(RunError):
    """An output of a processor that does not add up, or that no file of a run can hold."""


class ScopeWarning(UserWarning):
    """A method is used for what it cannot do: its result would look better than it is."""


class CollapseWarning(UserWarning):
    """A training with a penalty has ended in a score that does not separate the classes."""


def suggestion(name: object, known: Iterable[object]) -> str:
    """Return the sentence that lists the known names and the nearest one to a mistyped name."""
    names = sorted(map(str, known))
    nearest = difflib.get_close_matches(str(name), names, n=1)
    hint = f" Did you mean '{nearest[0]}'?" if nearest else ""
    return f"Known: {', '.join(names)}.{hint}"


def one_line(text: str, *, longest: int = 600) -> str:
    """Return a message as one printable line, shortened in its middle if it is longer."""
    line = " ".join(text.split())
    line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line[: 50 * longest])
    if len(line) <= longest:
        return line
    half = (longest - 5) // 2
    return f"{line[:half]} ... {line[-half:]}"
