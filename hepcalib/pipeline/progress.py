"""What the command shows of its work: bars and warnings while it lasts, the ledger at its end."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table

from hepcalib.exceptions import CollapseWarning

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from hepcalib.run import Ledger

__all__ = ["advance", "bars", "ledger_table", "naming_collapse"]


def bars(console: Console) -> Progress:
    """Return empty bars, one line for each task that is added."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    )


def advance(shown: Progress, task: TaskID, done: int, of: int) -> None:
    """Move the bar of a task."""
    shown.update(task, completed=done, total=of)


def ledger_table(ledger: Ledger) -> Table:
    """Return the events of each dataset by what became of them."""
    columns = ("expected", "processed", "skipped", "failed")
    table = Table("dataset", *columns, "sum of weights", title="events")
    for name, dataset in ledger.to_json()["datasets"].items():
        events = [str(dataset["events"][column]) for column in columns]
        table.add_row(name, *events, f"{dataset['sum_of_weights']['processed']:.6g}")
    return table


@contextmanager
def naming_collapse(model: str) -> Iterator[None]:
    """Let the warning of a score that has collapsed name the model of the configuration."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", CollapseWarning)
        yield
    for one in caught:
        is_ours = issubclass(one.category, CollapseWarning)
        text = f"model '{model}': {one.message}" if is_ours else str(one.message)
        warnings.warn(text, one.category, stacklevel=3)
