"""What a training says: a live bar in a terminal, plain lines in a log; both also in the run's log.txt."""

from __future__ import annotations

import contextlib
import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TextIO

from rich.console import Console as Terminal
from rich.console import RenderableType
from rich.markup import escape
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TaskProgressColumn, TextColumn
from rich.text import Text

from semiseg.files import append_text
from semiseg.pace import Pace
from semiseg.printable import printable
from semiseg.streams import check_mark, tolerant

RULE = "=" * 60


class Console(ABC):
    """The facts of a run, in the order in which they come about. `warnings` keeps every warning for summary.json."""

    encoding: str | None = None  # of the terminal

    def __init__(self, log_file: Path | None = None) -> None:
        self.warnings: list[str] = []
        self._log_file = log_file
        self._pace = Pace(0, 0)

    def pools(self, lines: Sequence[str]) -> None:
        """What data the run uses."""
        self._say(lines)

    def message(self, text: str) -> None:
        """One line."""
        self._say([printable(text)])

    def warning(self, text: str) -> None:
        """One line that is kept for the summary."""
        self.warnings.append(text)
        self._say([f"Warning: {printable(text)}"], style="yellow")

    def finding(self, rule: str, evidence: str, remedy: str) -> None:
        """A bad sign of the run doctor, which keeps it for the summary itself."""
        self._say([f"Doctor ({rule}): {evidence}. Try: {remedy}"], style="yellow")

    def start(self, total: int, done: int, label: str) -> None:
        """The loop begins with `done` of `total` steps finished."""
        self._pace = Pace(total, done)
        self._say([f"{label}: {done} of {total} iterations done"])

    def step(self, step: int, fields: Mapping[str, str], images_per_s: float) -> None:
        """`step` steps are finished; called every `log_every`. `fields` are label -> text, in the order shown."""
        parts = [f"Iter {step}/{self._pace.total}", joined(fields), self._speed(step, images_per_s)]
        self._log([" | ".join(part for part in parts if part)])

    def evaluation(
        self,
        step: int,
        train_miou: float,
        val_miou: float,
        gap: float,
        best_before: float | None,
        is_best: bool,
        class_iou: Mapping[str, float],
        best_path: Path,
    ) -> None:
        """One evaluation. `best_before` is None at the first; a class IoU of NaN means the class is absent."""
        lines = [
            f"Training mIoU: {score(train_miou)}",
            f"Validation mIoU: {score(val_miou)}",
            f"Train/Val Gap: {score(gap)}",
            "Class IoU: " + joined({name: score(iou, absent="absent") for name, iou in class_iou.items()}),
        ]
        if is_best:
            lines.append(f"{check_mark(self.encoding)} {new_best(val_miou, best_before)}")
            lines.append(f"  Saving best model to: {best_path}")
        self._panel(f"Evaluating at iteration {step}...", lines, style="green" if is_best else "dim")

    def finish(self, rows: Mapping[str, str], next_command: str) -> None:
        """The final table, and what to type next, if anything."""
        self.close()
        self._table("Summary", rows)
        if next_command:
            self._say([f"Next: {next_command}"], style="bold")

    def failed(self, error: Exception) -> None:
        """Keep in log.txt why the run ends, for whoever reads its folder later. The command itself says it aloud."""
        self._keep([f"semiseg: {error}"])

    def close(self) -> None:  # noqa: B027  (nothing to give back in a plain console)
        """Give the terminal back; safe to call twice and after an error."""

    def _speed(self, step: int, images_per_s: float) -> str:
        return f"{images_per_s:.1f} images/s | {self._pace.left(step)} left"

    def _log(self, lines: Sequence[str]) -> None:
        """Say what belongs to the log alone."""
        self._keep(lines)

    def _keep(self, lines: Iterable[str]) -> None:
        """Append to log.txt. A full disk costs the log, not the training."""
        if self._log_file is not None:
            with contextlib.suppress(OSError):
                append_text(self._log_file, "\n".join(lines) + "\n")

    @abstractmethod
    def _say(self, lines: Sequence[str], style: str = "") -> None:
        """Show and log lines."""

    @abstractmethod
    def _panel(self, title: str, lines: Sequence[str], style: str) -> None:
        """Show and log lines below a title."""

    @abstractmethod
    def _table(self, title: str, rows: Mapping[str, str]) -> None:
        """Show and log names with values."""


class PlainConsole(Console):
    """One line every `log_every` steps, for pipes, files and schedulers."""

    def __init__(self, log_file: Path | None = None, stream: TextIO | None = None) -> None:
        super().__init__(log_file)
        self._stream = tolerant(stream or sys.stdout)
        self.encoding = self._stream.encoding

    def _log(self, lines: Sequence[str]) -> None:
        self._stream.write("\n".join(lines) + "\n")
        self._stream.flush()
        self._keep(lines)

    def _say(self, lines: Sequence[str], style: str = "") -> None:
        self._log(lines)

    def _panel(self, title: str, lines: Sequence[str], style: str) -> None:
        self._log(framed(title, lines))

    def _table(self, title: str, rows: Mapping[str, str]) -> None:
        self._log(framed(title, aligned(rows)))


class RichConsole(Console):
    """A progress bar with live fields at the bottom of the terminal, panels and tables above it."""

    def __init__(self, log_file: Path | None = None, terminal: Terminal | None = None) -> None:
        super().__init__(log_file)
        self._terminal = terminal or Terminal(file=tolerant(sys.stdout))
        self._progress: TrainingProgress | None = None
        self.encoding = self._terminal.encoding

    def start(self, total: int, done: int, label: str) -> None:
        self.close()
        super().start(total, done, label)
        self._progress = TrainingProgress(self._terminal, total, done, label)
        self._progress.start()

    def step(self, step: int, fields: Mapping[str, str], images_per_s: float) -> None:
        super().step(step, fields, images_per_s)
        if self._progress is not None:
            self._progress.show(step, joined(fields), self._speed(step, images_per_s))

    def close(self) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _say(self, lines: Sequence[str], style: str = "") -> None:
        self._terminal.print(Text("\n".join(lines), style=style), soft_wrap=True)
        self._log(lines)

    def _panel(self, title: str, lines: Sequence[str], style: str) -> None:
        body = Text("\n".join(lines))
        self._terminal.print(Panel(body, title=escape(title), title_align="left", border_style=style, expand=False))
        self._log(framed(title, lines))

    def _table(self, title: str, rows: Mapping[str, str]) -> None:
        """No box and no wrapping: the paths and commands of the last column are there to be copied."""
        self._terminal.rule(escape(title), align="left")
        for name, line in zip(rows, aligned(rows), strict=True):
            text = Text(line)
            text.stylize("bold", 0, len(name))
            self._terminal.print(text, soft_wrap=True)
        self._log(framed(title, aligned(rows)))


class TrainingProgress(Progress):
    """A bar with the fields of the method in a line below, drawn when `show` is called.

    Rich would draw from a thread of its own; that thread takes turns with the training loop, so it is left out.
    """

    def __init__(self, terminal: Terminal, total: int, done: int, label: str) -> None:
        self._fields = ""
        columns = (
            TextColumn("{task.description}"),
            TaskProgressColumn(),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}"),
        )
        super().__init__(*columns, console=terminal, auto_refresh=False, expand=True)
        self._task: TaskID = self.add_task(escape(label), total=total, completed=done, speed="")

    def show(self, step: int, fields: str, speed: str) -> None:
        """Draw the bar at `step` finished steps."""
        self._fields = fields
        self.update(self._task, completed=step, speed=speed, refresh=True)

    def get_renderables(self) -> Iterable[RenderableType]:
        yield self.make_tasks_table(self.tasks)
        yield Text(f"  {self._fields}")


def joined(fields: Mapping[str, str]) -> str:
    """`CE: 0.285 | ST: 0.412`."""
    return " | ".join(f"{label}: {text}" for label, text in fields.items())


def framed(title: str, lines: Sequence[str]) -> list[str]:
    """Lines below a title, between rules, as plain text."""
    return [RULE, title, RULE, *lines, RULE]


def aligned(rows: Mapping[str, str]) -> list[str]:
    """`name  value` a line, the values below each other."""
    width = max((len(name) for name in rows), default=0)
    return [f"{name:<{width}}  {value}" for name, value in rows.items()]


def score(value: float, absent: str = "n/a") -> str:
    """A score with four decimals; `absent` where there is none."""
    return absent if math.isnan(value) else f"{value:.4f}"


def new_best(val_miou: float, before: float | None) -> str:
    """What is said of weights that are kept; `before`, the best score so far, may be that of weights elsewhere."""
    if before is None:
        return f"New best validation mIoU: {score(val_miou)}"
    if val_miou > before:
        return f"New best validation mIoU: {score(val_miou)} (previous: {score(before)})"
    return f"Best weights in this folder: validation mIoU {score(val_miou)} (others had {score(before)})"


def make_console(
    interactive: bool | None = None, log_file: Path | None = None, stream: TextIO | None = None
) -> Console:
    """A live console for a terminal, else a plain one; null asks the stream (default: standard output)."""
    stream = tolerant(stream or sys.stdout)
    if stream.isatty() if interactive is None else interactive:
        return RichConsole(log_file, Terminal(file=stream))
    return PlainConsole(log_file, stream)
