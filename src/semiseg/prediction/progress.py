"""How far a prediction is: a bar in a terminal, a line a minute in a log."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console as Terminal
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

LINE_EVERY = 60.0  # seconds


class Meter:
    """Counts images, in parts of one, and pixels."""

    def __init__(self, terminal: Terminal, images: int) -> None:
        self.terminal, self.images = terminal, images
        self.done, self.pixels = 0.0, 0
        self.began = self._said = time.monotonic()
        columns = (TextColumn("Predicting"), BarColumn(), TaskProgressColumn(), TextColumn("{task.description}"))
        self._bar = Progress(
            *columns, TimeRemainingColumn(), console=terminal, transient=True, disable=not terminal.is_terminal
        )
        self._task = self._bar.add_task("", total=images)

    def __enter__(self) -> Meter:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.stop()

    def advance(self, share: float, pixels: int) -> None:
        """A share of an image is predicted."""
        self.done += share
        self.pixels += pixels
        self._bar.update(self._task, completed=self.done, description=self.status())
        if not self.terminal.is_terminal and time.monotonic() - self._said > LINE_EVERY:
            self._said = time.monotonic()
            self.terminal.print(self.status(), highlight=False)

    def per_second(self) -> str:
        return f"{in_pixels(self.pixels / max(1e-9, time.monotonic() - self.began))}/s"

    def status(self) -> str:
        whole = f"{self.done:,.0f}" if self.images > 1 else f"{self.done:.1%}"
        return f"{whole} of {counted(self.images, 'image')}, {self.per_second()}"

    def total(self) -> str:
        """What was predicted at last, and how fast."""
        return f"{in_pixels(self.pixels)} at {self.per_second()}" if self.pixels else "Nothing new is predicted"


def counted(number: int, noun: str) -> str:
    """A number of things: 1 image, 2 images."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def in_pixels(number: float) -> str:
    """Pixels in the largest unit of which there is one."""
    for unit, name in ((1e6, "megapixels"), (1e3, "kilopixels")):
        if number >= unit:
            return f"{number / unit:,.1f} {name}"
    return f"{number:,.0f} pixels"
