"""What a sweep prints itself."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table
from rich.text import Text

from semiseg.pace import clock
from semiseg.streams import tolerant
from semiseg.sweep.record import Job, Sweep

STYLES = {"finished": "green", "stopped early": "green", "failed": "red", "interrupted": "yellow"}


def tell(text: str) -> None:
    """A line of the sweep, at once: the jobs write to the same terminal."""
    print(text, file=tolerant(sys.stdout), flush=True)


def score_text(value: float | None) -> str:
    """A score with four decimals."""
    return "n/a" if value is None else f"{value:.4f}"


def show(sweep: Sweep) -> None:
    """A row a job, and below it why jobs failed."""
    console = Console(file=tolerant(sys.stdout))
    if not console.is_terminal:
        console = Console(file=sys.stdout, width=160)  # a log must not lose what varied
    table = Table(title=f"{sweep.path}", title_justify="left", title_style="bold")
    for heading in ("job", "varied", "status", "best val mIoU", "time"):
        table.add_column(heading, justify="right" if heading in ("job", "best val mIoU", "time") else "left")
    for job in sweep.jobs:
        table.add_row(*row(job))
    console.print(table)
    for job in sweep.jobs:
        if job.error:
            console.print(Text(f"Job {job.number} failed: {job.error}"), soft_wrap=True)


def row(job: Job) -> tuple[Text, ...]:
    """The cells of a job. Names are data: they are never read as markup."""
    cells = (str(job.number), job.name, job.status, score_text(job.best_val_miou), clock(job.seconds))
    return tuple(Text(cell, style=STYLES.get(job.status, "") if n == 2 else "") for n, cell in enumerate(cells))
