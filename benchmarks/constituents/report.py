"""Rows of the result: what, how fast, how much memory, and the ratio that is asked for."""

from __future__ import annotations

import json
import platform
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


class Row(NamedTuple):
    """One line; `ratio` is in units of `of`, and at least or at most `bound`."""

    section: str
    what: str
    jets_per_second: float | None = None
    megabytes: float | None = None
    ratio: float | None = None
    of: str = ""
    bound: float | None = None
    sense: str = ""  # ">=" or "<="

    @property
    def holds(self) -> bool | None:
        """Whether the bound is kept; None without one."""
        value = self.megabytes if self.ratio is None else self.ratio
        if self.bound is None or value is None:
            return None
        return value >= self.bound if self.sense == ">=" else value <= self.bound


def table(rows: Sequence[Row], title: str) -> Table:
    """Return all rows as one table, a section under the other."""
    found = Table(title=title, title_justify="left")
    for name, justify in (
        ("", "left"),
        ("what", "left"),
        ("jets/s", "right"),
        ("peak [MB]", "right"),
        ("ratio", "right"),
        ("in units of", "left"),
        ("needed", "right"),
        ("", "left"),
    ):
        found.add_column(name, justify="right" if justify == "right" else "left")
    for row, following in pairwise([*rows, None]):
        if row is not None:
            ends = following is not None and following.section != row.section
            found.add_row(*_cells(row), end_section=ends)
    return found


def show(rows: Sequence[Row], title: str) -> None:
    """Print the table, wide enough for its lines wherever it goes."""
    console = Console()
    Console(width=max(120, console.width)).print(table(rows, title))


def write(path: Path, rows: Sequence[Row], about: Mapping[str, Any]) -> None:
    """Write everything as JSON."""
    lines = [{**row._asdict(), "holds": row.holds} for row in rows]
    path.write_text(json.dumps({**about, "rows": lines}, indent=2, allow_nan=False) + "\n")


def machine() -> dict[str, str]:
    """What the figures depend on beside the code."""
    return {
        "processor": _processor(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
    }


def _processor() -> str:
    found = torch.backends.cpu.get_cpu_capability()
    return f"{platform.machine()} {found}"


def _cells(row: Row) -> list[str]:
    needed = "" if row.bound is None else f"{row.sense} {row.bound:g}"
    verdict = {None: "", True: "yes", False: "[bold]no[/bold]"}[row.holds]
    return [
        row.section,
        row.what,
        "" if row.jets_per_second is None else f"{row.jets_per_second:,.0f}",
        "" if row.megabytes is None else f"{row.megabytes:,.0f}",
        "" if row.ratio is None else f"{row.ratio:.2f}",
        row.of,
        needed,
        verdict,
    ]
