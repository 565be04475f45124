from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hepcalib.processes import Workers, end_with, undisturbed

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the kernel kills them on Linux only")
STARTS = """
import ctypes, sys, time
from hepcalib.processes import Workers
def long_call():
    ctypes.PyDLL(None).sleep(100)  # keeps the lock of the interpreter, as no thread can then run
if __name__ == "__main__":
    pool = Workers(1)
    process = pool.submit(__import__("os").getpid).result()
    pool.submit(long_call)
    time.sleep(0.5)
    print(process, flush=True)
    time.sleep(100)
"""


def masked() -> set[int]:
    return {int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, [])}


def nap(seconds: float) -> None:
    time.sleep(seconds)


def is_alive(process: int) -> bool:
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except FileNotFoundError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def gone(process: int, *, within: float) -> bool:
    end = time.monotonic() + within
    while is_alive(process) and time.monotonic() < end:
        time.sleep(0.05)
    return not is_alive(process)


@LINUX
def test_a_worker_in_a_long_call_is_killed_with_its_parent(tmp_path: Path) -> None:
    script = tmp_path / "starts.py"
    script.write_text(STARTS)
    parent = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    assert is_alive(worker)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    assert gone(worker, within=10)


def test_workers_do_not_get_the_signals_of_the_terminal() -> None:
    before = masked()
    with Workers(1) as pool:
        assert pool.submit(masked).result() >= {signal.SIGINT, signal.SIGHUP}
    assert masked() == before


def test_an_error_ends_workers_at_once() -> None:
    start = time.monotonic()
    pool = Workers(1)
    worker = pool.submit(os.getpid).result()
    pool.submit(nap, 100)
    with pytest.raises(ZeroDivisionError), pool:
        raise ZeroDivisionError
    assert time.monotonic() - start < 50
    if sys.platform == "linux":
        assert not is_alive(worker)


def test_signals_are_blocked_in_here_only() -> None:
    before = masked()
    with undisturbed():
        assert masked() >= {signal.SIGINT, signal.SIGHUP}
    assert masked() == before


def test_an_orphan_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ends it where the kernel does not, and what finds a parent that has ended before."""

    class Ended(BaseException):
        pass

    def leave(code: int) -> None:
        raise Ended(code)

    monkeypatch.setattr(sys, "platform", "other")
    monkeypatch.setattr(os, "_exit", leave)
    with pytest.raises(Ended):
        end_with(os.getppid() + 1)
