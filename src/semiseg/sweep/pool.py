"""Several jobs at a time, and all of them stopped when the command is."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, Protocol, TypeVar

from semiseg.sweep.record import Job

PAUSE = 0.1  # seconds between two looks at the processes
GRACE = 60.0  # seconds a job has to save what it needs once it is asked to stop


class Running(Protocol):
    """A job that was started."""

    def poll(self) -> int | None: ...
    def interrupt(self) -> None: ...
    def kill(self) -> None: ...


R = TypeVar("R", bound=Running)


class Pool(Generic[R]):
    """Keeps `n_jobs` of the jobs running until all have ended.

    `start(job, slot)` starts one; `ended(job, running)` is told of its end, whichever way it ended.
    """

    def __init__(self, n_jobs: int, start: Callable[[Job, int], R], ended: Callable[[Job, R], None]) -> None:
        self._n_jobs, self._start, self._ended = n_jobs, start, ended
        self._running: dict[int, tuple[Job, R]] = {}

    def run(self, jobs: Sequence[Job]) -> None:
        """Run them all. Raises KeyboardInterrupt once those that run were stopped, when the command is to end."""
        with end_requests() as requests:
            try:
                self._work(deque(jobs), requests)
            except Exception:  # such as a full disk: what runs must not be left behind
                self._stop(requests)
                raise
            if requests:
                self._stop(requests)
                raise KeyboardInterrupt

    def _work(self, waiting: deque[Job], requests: Sequence[int]) -> None:
        """Until all have ended, or one of the requests came."""
        while (waiting or self._running) and not requests:
            for slot in range(self._n_jobs):
                if waiting and slot not in self._running and not requests:
                    job = waiting.popleft()
                    self._running[slot] = (job, self._start(job, slot))
            self._collect()
            time.sleep(PAUSE if self._running else 0)

    def _collect(self) -> None:
        for slot, (job, running) in list(self._running.items()):
            if running.poll() is not None:
                del self._running[slot]
                self._ended(job, running)

    def _stop(self, requests: Sequence[int]) -> None:
        """Ask every job to stop and wait for it; a second request does not wait."""
        until, asked = time.monotonic() + GRACE, len(requests)
        for _, running in self._running.values():
            running.interrupt()
        while self._running and time.monotonic() < until and len(requests) == asked:
            self._collect()
            time.sleep(PAUSE)
        for _, running in self._running.values():
            running.kill()
        self._collect()


@contextlib.contextmanager
def end_requests() -> Iterator[list[int]]:
    """The signals that asked this process to end, as they come.

    They wait for the loop to look, because one that came between the start of a job and the note of it would leave the
    job behind: jobs in sessions of their own run on. What the process was told to ignore (nohup) stays ignored.
    """
    requests: list[int] = []
    named = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    if threading.current_thread() is not threading.main_thread():
        named = []  # Python handles signals in the main thread alone
    before = {number: signal.getsignal(number) for number in named}
    before = {number: handler for number, handler in before.items() if handler != signal.SIG_IGN}
    for number in before:
        signal.signal(number, lambda got, frame: requests.append(got))
    try:
        yield requests
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
