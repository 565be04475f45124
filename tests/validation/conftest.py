"""Full runs of the shipped configurations, shared by the checks of what they must show."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[2]


class FullRun(NamedTuple):
    """What a shipped configuration left: its metrics and ledger, and how long it took."""

    out: Path
    metrics: dict[str, Any]
    ledger: dict[str, Any]
    seconds: float
    peak_gib: float  # of the largest process of this run


@pytest.fixture(scope="session")
def full_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., FullRun]:
    """Run a shipped configuration as a user does, in a folder that later runs find again."""
    kept = os.environ.get("HEPCALIB_VALIDATION_FOLDER")
    folder = Path(kept).absolute() if kept else tmp_path_factory.mktemp("validation")
    folder.mkdir(parents=True, exist_ok=True)

    def run(name: str, *arguments: str) -> FullRun:
        config = ROOT / "analysis_configs" / f"{name}.yaml"
        command = [sys.executable, "-m", "hepcalib", "run", str(config), *arguments]
        start = time.monotonic()
        with (folder / f"{name}.log").open("w+", encoding="utf-8") as log:
            process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
            _, status, usage = os.wait4(process.pid, 0)  # of this run, not of earlier children
            process.returncode = os.waitstatus_to_exitcode(status)
            log.seek(0)
            assert process.returncode == 0, log.read()[-3000:]
        seconds = time.monotonic() - start
        out = folder / "out" / name
        metrics, ledger = (
            json.loads((out / f"{part}.json").read_text(encoding="utf-8"))
            for part in ("metrics", "ledger")
        )
        return FullRun(out, metrics, ledger, seconds, usage.ru_maxrss / 2**20)

    return run
