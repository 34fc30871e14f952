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

    @property
    def megapixels_per_second(self) -> float:
        return self.pixels / 1e6 / max(1e-9, time.monotonic() - self.began)

    def status(self) -> str:
        whole = f"{self.done:,.0f}" if self.images > 1 else f"{self.done:.1%}"
        return f"{whole} of {self.images:,} images, {self.megapixels_per_second:.1f} megapixels/s"
