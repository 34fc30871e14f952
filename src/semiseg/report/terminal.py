"""The report in a terminal of any width: each table as it is read best there."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from semiseg.report.contents import Section
from semiseg.report.table import BY_COLUMN, Cells
from semiseg.streams import tolerant

WIDTH = 160  # where the output is a pipe or a file, and COLUMNS does not say otherwise
LONGEST = 40  # rows of a table
FOLDS = (36, 28, 20)  # characters to which texts may be folded, the best first
TIGHT = (*FOLDS, 16)


def make_terminal() -> Console:
    """Standard output, as wide as COLUMNS says, as the terminal is, or as the tables need in a pipe."""
    stream = tolerant(sys.stdout)
    known = stream.isatty() or os.environ.get("COLUMNS", "").isdecimal()
    return Console(file=stream, width=None if known else WIDTH)


def show(terminal: Console, section: Section) -> None:
    """The tables and notes of a section; nothing of one that is for the files alone."""
    tables = [table for table in section.tables if not table.folded]
    if section.on_paper or not (tables or section.notes):
        return
    terminal.rule(Text(section.title, style="bold"), align="left", style="dim")
    if section.intro:
        terminal.print(Text(section.intro, style="dim"))
    for table in tables:
        for part in fitted(table.first(LONGEST), terminal.width):
            terminal.print()
            terminal.print(part)
    for note in section.notes:
        terminal.print(Text(f"- {note}"))
    terminal.print()


def fitted(cells: Cells, width: int) -> Iterator[RenderableType]:
    """The table whole, else without its minor columns; else its rows one below the other where they hold sentences,
    or as several tables of some columns each."""
    wordy = cells.wordy() and cells.header[0] not in BY_COLUMN
    for table, folds in ((cells, FOLDS), (cells.without_minor(), TIGHT)):
        for widest in folds[:2] if wordy else folds:
            if table.total_width(widest) <= width:
                yield table.rich(widest)
                return
    if wordy:
        yield records(cells)
        return
    widest = min(TIGHT, key=lambda each: len(cells.parts(width, each)))
    for part in cells.parts(width, widest):
        yield part.rich(widest)


def records(cells: Cells) -> RenderableType:
    """A paragraph a row: its first cell, then each other one with its heading."""
    blocks: list[RenderableType] = [Text(cells.title, style="italic")]
    for first, *others in cells.rows:
        told = [f"{heading}: {cell}" for heading, cell in zip(cells.header[1:], others, strict=True) if cell]
        body = Text(
            "\n".join([*_joined([t for t in told if len(t) <= FOLDS[0]]), *(t for t in told if len(t) > FOLDS[0])])
        )
        blocks += [Text(first, style="bold"), Padding(body, (0, 0, 0, 2))]
    return Group(*blocks)


def _joined(texts: list[str]) -> list[str]:
    return [" | ".join(texts)] if texts else []
