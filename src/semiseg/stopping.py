"""Ctrl-C and requests to end: the run stops between two steps, with a checkpoint."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from types import FrameType

# Ctrl-C, a scheduler's or kill's, a terminal or connection that closed, and Ctrl-Break of Windows
NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGBREAK")
NOTICE = "\nStopping after this step, with a checkpoint. Ctrl-C again stops at once.\n"


class Stopped(KeyboardInterrupt):
    """A run that ended on request; `status` is the command's: 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.status = 128 + number


class StopRequest:
    """Asks a training to stop after its present step. While it is entered it is who hears the signals.

    A second Ctrl-C stops at once. Signals that the process was told to ignore (nohup), or that whoever started this
    code handles itself (a scheduler's plugin), are left alone.
    """

    def __init__(self) -> None:
        self.number: int | None = None  # of the first signal
        self._before: dict[int, object] = {}
        self._process = os.getpid()

    def __call__(self) -> bool:
        return self.number is not None

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():  # Python handles signals there alone
            for number in (getattr(signal, name) for name in NAMES if hasattr(signal, name)):
                if signal.getsignal(number) in (signal.SIG_DFL, signal.default_int_handler):
                    self._before[number] = signal.signal(number, self._heard)
        return self

    def __exit__(self, *exc_info: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # pyright: ignore[reportArgumentType]
        self._before = {}

    def _heard(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a loader worker, forked and not yet deaf to what is meant for the run
            return
        if self.number is not None:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            return
        self.number = number
        with suppress(OSError):  # not by print: the signal may have come in the midst of one
            os.write(2, NOTICE.encode())

    def stopped(self) -> Stopped:
        """What to raise once the run has ended on this request."""
        return Stopped(self.number or signal.SIGINT)
