"""A table of text, drawn in the terminal and as Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rich.markup import escape
from rich.table import Table

NUMBER = re.compile(r"^[+-]?\d")
GAP = 2  # columns between two cells in the terminal
WIDEST = 36  # a longer text is folded there
HEADING = 22  # and a longer heading


@dataclass(frozen=True)
class Cells:
    """A table as text, before it is drawn."""

    title: str
    header: list[str]
    rows: list[list[str]]

    def rich(self) -> Table:
        """For the terminal; numbers to the right, long texts folded."""
        table = Table(title=escape(self.title), title_justify="left", box=None, pad_edge=False, padding=(0, GAP, 0, 0))
        for position, heading in enumerate(self.header):
            justify = "right" if position and self._is_number(position) else "left"
            table.add_column(escape(heading), justify=justify, overflow="fold", width=self.width(position))
        for row in self.rows:
            table.add_row(*(escape(cell) for cell in row))
        return table

    def width(self, position: int) -> int:
        """Width of a column in the terminal."""
        cells = max((len(row[position]) for row in self.rows), default=0)
        return min(WIDEST, max(cells, min(HEADING, len(self.header[position]))))

    def _is_number(self, position: int) -> bool:
        return all(NUMBER.match(row[position]) for row in self.rows if row[position])

    def markdown(self) -> str:
        """Title and table; a `|` or a line break in a cell does not end it."""

        def line(cells: Sequence[str]) -> str:
            return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

        body = [line(self.header), line(["---"] * len(self.header)), *(line(row) for row in self.rows)]
        return f"### {self.title}\n\n" + "\n".join(body) + "\n"

    def parts(self, width: int) -> list[Cells]:
        """The table as several, each no wider than the terminal and with the first column again."""
        start = self.width(0)
        parts: list[list[int]] = [[]]
        used = start
        for position in range(1, len(self.header)):
            needed = self.width(position) + GAP
            if parts[-1] and used + needed > width:
                parts.append([])
                used = start
            parts[-1].append(position)
            used += needed
        return [self._only([0, *part], "" if number == 0 else ", continued") for number, part in enumerate(parts)]

    def _only(self, columns: Sequence[int], suffix: str) -> Cells:
        rows = [[row[c] for c in columns] for row in self.rows]
        return Cells(self.title + suffix, [self.header[c] for c in columns], rows)

    def first(self, count: int) -> Cells:
        """The first rows, with a word in the title where there are more."""
        if len(self.rows) <= count:
            return self
        return replace(self, title=f"{self.title} (the first {count} of {len(self.rows)} rows)", rows=self.rows[:count])

    def without_empty(self) -> Cells:
        """The table without the columns that have no text, the first column aside."""
        kept = [c for c in range(len(self.header)) if c == 0 or any(row[c] for row in self.rows)]
        return self._only(kept, "")


def mean_text(found: tuple[float, float | None] | None, form: str) -> str:
    """`0.6712 ± 0.0040`, without the second part for a single run and empty for none."""
    if found is None:
        return ""
    mean, sd = found
    return form.format(mean) if sd is None else f"{form.format(mean)} ± {form.format(sd)}"
