"""The thread that sends a training's records to MLflow, so that the training never waits for a store."""

from __future__ import annotations

import threading
import time

from semiseg.tracking.mirror import Mirror
from semiseg.tracking.reasons import reason

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # seconds between attempts; each pause is twice the one before
LAST_ATTEMPTS = 2  # in a row that may fail once the run is over


class Sender(threading.Thread):
    """Sends what is new when it is woken, and tries again with growing pauses while the store fails.

    It reads the files of the run folder: nothing waits in memory, however long a store is away. A daemon: a program
    that ends does not wait for it.
    """

    def __init__(self, mirror: Mirror) -> None:
        super().__init__(name="semiseg-mlflow", daemon=True)
        self.mirror = mirror
        self.failures = 0  # in a row
        self.reason = ""  # of the last failure
        self._news, self._closing = threading.Event(), threading.Event()

    def wake(self) -> None:
        """There is something to send."""
        self._news.set()

    def close(self) -> None:
        """Send all that is there and end. Returns at once; `join` waits."""
        self._closing.set()
        self._news.set()

    def attempt(self) -> None:
        """Send once; whatever the store raises is kept as `reason`."""
        try:
            self.mirror.send()
            self.failures, self.reason = 0, ""
        except Exception as error:
            self.failures, self.reason = self.failures + 1, reason(error)

    def run(self) -> None:
        failed_at_the_end = 0
        while failed_at_the_end < LAST_ATTEMPTS:
            closing = self._wait()
            self.attempt()
            if closing and not self.failures:
                return
            failed_at_the_end += closing

    def _wait(self) -> bool:
        """Until there are news or, after a failure, until a pause is over; whether the run is over.

        Asked before the attempt that follows: it then sends everything there was when the run ended.
        """
        if not self.failures:
            self._news.wait()
            self._news.clear()
        elif self._closing.is_set():
            time.sleep(FIRST_PAUSE)
        else:
            self._closing.wait(min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (self.failures - 1)))
        return self._closing.is_set()
