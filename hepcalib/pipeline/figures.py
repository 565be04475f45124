"""Figures into the output directory, drawn in several processes."""

from __future__ import annotations

import functools
import pickle
from concurrent.futures import as_completed
from typing import TYPE_CHECKING

from hepcalib import plots
from hepcalib.ntuples.writing import TEMPORARY
from hepcalib.processes import Workers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from matplotlib.figure import Figure

    from hepcalib.pipeline.folder import OutputFolder

__all__ = ["save_figures"]

_FEW = 4  # figures, for which no process is worth its start


def save_figures(folder: OutputFolder, figures: Mapping[str, Figure], *, workers: int) -> list[str]:
    """Write figures as PNG and PDF below `figures/`, in so many processes at a time.

    Args:
        folder: The output directory.
        figures: Name without suffix -> figure; a figure that cannot be pickled is drawn here.
        workers: Processes; with one, or for few figures, everything is drawn here.

    Returns:
        What went wrong, figure by figure; the others are written.
    """
    complaints: list[str] = []

    def finish(name: str, draw: Callable[[], tuple[Path, Path]]) -> None:
        try:
            folder.adopt((path, f"figures/{name}{path.suffix}") for path in draw())
        except Exception as error:  # noqa: BLE001 - one figure costs no other
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            complaints.append(f"figure '{name}': {reason}")

    sent = _pickled(figures) if workers > 1 and len(figures) > _FEW else {}
    with Workers(min(workers, len(sent) or 1)) as pool:  # no process starts before a task
        futures = {
            pool.submit(_save, figure, _temporary(folder, name)): name
            for name, figure in sent.items()
        }
        for name in [name for name in figures if name not in sent]:
            finish(name, functools.partial(plots.save, figures[name], _temporary(folder, name)))
        for future in as_completed(futures):
            finish(futures[future], future.result)
    folder.clear_parts()
    return sorted(complaints)


def _temporary(folder: OutputFolder, name: str) -> Path:
    return folder.path / "figures" / f"{TEMPORARY}{name}"


def _pickled(figures: Mapping[str, Figure]) -> dict[str, bytes]:
    found = {}
    for name, figure in figures.items():
        try:
            found[name] = pickle.dumps(figure)
        except (pickle.PicklingError, AttributeError, TypeError):
            continue
    return found


def _save(figure: bytes, path: Path) -> tuple[Path, Path]:
    return plots.save(pickle.loads(figure), path)
