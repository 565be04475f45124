from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from hepcalib.stopping import Stopped, stoppable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
WAITING = """
import pathlib, time
from coffea.processor import ProcessorABC
class Waiting(ProcessorABC):
    def process(self, events):
        pathlib.Path(f"started-{events.metadata['entrystart']}").touch()
        time.sleep(100)
        return {}
    def postprocess(self, output):
        return output
"""
CONFIG = """
version: 1
name: small
datasets:
  clusters: {files: [clusters.root], layout: cluster_tree}
analyses:
  study: {processor: "waiting:Waiting", datasets: [clusters]}
run: {executor: EXECUTOR, workers: 2, chunk_size: 10}
"""


@pytest.fixture(autouse=True)
def untouched() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(
    ("number", "code", "text"),
    [
        (signal.SIGINT, 130, "interrupted (SIGINT)"),
        (signal.SIGTERM, 143, "terminated (SIGTERM)"),
        (signal.SIGHUP, 129, "hung up (SIGHUP)"),
    ],
)
def test_a_signal_unwinds_and_further_ones_do_not_disturb(
    number: signal.Signals, code: int, text: str
) -> None:
    closed = []

    def work() -> None:
        try:
            os.kill(os.getpid(), number)
            time.sleep(5)
        finally:
            for further in SIGNALS:
                os.kill(os.getpid(), further)
            closed.append(True)

    with pytest.raises(Stopped) as stopped, stoppable():
        work()
    assert closed
    assert stopped.value.exit_code == code
    assert str(stopped.value) == text
    assert signal.getitimer(signal.ITIMER_REAL)[0] > 0  # the kernel ends what hangs now


def test_handlers_are_put_back_and_ignored_signals_stay_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    before = [signal.getsignal(number) for number in SIGNALS]
    with stoppable():
        os.kill(os.getpid(), signal.SIGHUP)
    assert [signal.getsignal(number) for number in SIGNALS] == before


@pytest.mark.parametrize("executor", ["futures", "dask"])
def test_an_interrupt_in_the_terminal_is_one_line(tmp_path: Path, executor: str) -> None:
    from hepcalib import ntuples, samples

    sample = samples.topoclusters.simulate(40, seed=1)
    ntuples.write(tmp_path / "clusters.root", "ClusterTree", sample)
    (tmp_path / "waiting.py").write_text(WAITING)
    (tmp_path / "a.yaml").write_text(CONFIG.replace("EXECUTOR", executor))
    command = subprocess.Popen(
        [sys.executable, "-m", "hepcalib", "process", "a.yaml", "--out", "out"],
        cwd=tmp_path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        end = time.monotonic() + 120
        while not list(tmp_path.glob("started-*")) and time.monotonic() < end:
            time.sleep(0.1)
        assert list(tmp_path.glob("started-*"))
        os.killpg(command.pid, signal.SIGINT)  # as Ctrl-C does: all processes get it
        _, said = command.communicate(timeout=40)  # until no worker holds the pipe any more
    finally:
        command.kill()
    assert said == "Error: interrupted (SIGINT)\n"
    assert command.returncode == 130
