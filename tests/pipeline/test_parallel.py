from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from hepcalib.exceptions import RunError, TrainingError
from hepcalib.pipeline.parallel import each

if TYPE_CHECKING:
    from collections.abc import Callable


def die(name: str, progress: Callable[[int, int], None]) -> None:
    if name == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    progress(1, 1)


def count_letters(name: str, progress: Callable[[int, int], None]) -> None:
    if name == "broken":
        msg = "this one cannot"
        raise TrainingError(msg)
    for done in range(len(name)):
        progress(done + 1, len(name))


@pytest.mark.parametrize("workers", [1, 2])
def test_every_task_runs_and_reports(workers: int) -> None:
    reports: list[tuple[str, int, int]] = []
    each(
        count_letters,
        ["a", "bc", "def"],
        workers=workers,
        report=lambda *report: reports.append(report),
    )
    expected = [("a", 1, 1), ("bc", 1, 2), ("bc", 2, 2)]
    expected += [("def", 1, 3), ("def", 2, 3), ("def", 3, 3)]
    assert sorted(reports) == expected


@pytest.mark.parametrize("workers", [1, 2])
def test_the_error_of_a_task_is_raised(workers: int) -> None:
    with pytest.raises(TrainingError, match="this one cannot"):
        each(count_letters, ["broken", "a"], workers=workers, report=lambda *_: None)


def test_a_killed_process_is_named() -> None:
    with pytest.raises(RunError, match="killed, a died"):
        each(die, ["killed", "a"], workers=2, report=lambda *_: None)
