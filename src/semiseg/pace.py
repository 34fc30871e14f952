"""How much time is left."""

from __future__ import annotations

import time


class Pace:
    """Time left at the mean speed since the loop began, evaluations included."""

    def __init__(self, total: int, done: int) -> None:
        self.total = total
        self._done = done
        self._begin = time.monotonic()

    def elapsed(self) -> float:
        """Seconds since the loop began."""
        return time.monotonic() - self._begin

    def left(self, step: int) -> str:
        """Time left after `step` finished steps, as h:mm:ss."""
        steps = step - self._done
        return clock(self.elapsed() / steps * (self.total - step)) if steps > 0 else "?"


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss."""
    minutes, second = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{second:02d}"
