"""Signals that end the command: it unwinds, so that what it started and opened is closed."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

__all__ = ["Stopped", "stoppable"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_GRACE = 30  # s to unwind and to end; then the kernel ends the process


class Stopped(BaseException):  # no Exception, which a run takes for that of a chunk
    """The command was told to end by a signal."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = signal.Signals(number)

    @property
    def exit_code(self) -> int:
        """What a shell reports for a command that this signal has ended: 130 for Ctrl-C."""
        return 128 + self.number

    def __str__(self) -> str:
        """Say what has ended the command."""
        by = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated", signal.SIGHUP: "hung up"}
        return f"{by[self.number]} ({self.number.name})"


@contextmanager
def stoppable() -> Iterator[None]:
    """Raise Stopped where the main thread is when the process is told to end.

    Further signals are ignored, and a process that has not ended after half a minute is ended by
    the kernel. Signals that are ignored already, as under nohup, stay so.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only there can signals be handled
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, _stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            if signal.getsignal(number) is _stop:  # after a stop, the signals stay ignored
                signal.signal(number, handler or signal.SIG_DFL)


def _stop(number: int, _: FrameType | None) -> None:
    for other in _SIGNALS:
        signal.signal(other, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, _GRACE)
    raise Stopped(number)
