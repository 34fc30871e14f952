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
BY_COLUMN = ("metric", "setting")  # first headings of the tables with a column a recipe


@dataclass(frozen=True)
class Cells:
    """A table as text, before it is drawn."""

    title: str
    header: list[str]
    rows: list[list[str]]
    minor: tuple[str, ...] = ()  # headings of the columns that give way first in a narrow terminal
    folded: bool = False  # for who wants to know: folded away in report.html, and not in the terminal

    def rich(self, widest: int = WIDEST) -> Table:
        """For the terminal; numbers to the right, texts of more than `widest` characters folded."""
        table = Table(title=escape(self.title), title_justify="left", box=None, pad_edge=False, padding=(0, GAP, 0, 0))
        for position, heading in enumerate(self.header):
            justify = "right" if position and self._is_number(position) else "left"
            width = self.width(position, widest)
            table.add_column(_folded(heading, width), justify=justify, overflow="fold", width=width)
        for row in self.rows:
            table.add_row(*(_folded(cell, column.width or 1) for cell, column in zip(row, table.columns, strict=True)))
        return table

    def width(self, position: int, widest: int = WIDEST) -> int:
        """Width of a column in the terminal. A number is not folded."""
        cells = max((len(row[position]) for row in self.rows), default=0)
        if position and self._is_number(position):
            return max(min(cells, WIDEST), min(HEADING, widest, longest_word(self.header[position])))
        return min(widest, max(cells, min(HEADING, len(self.header[position]))))

    def total_width(self, widest: int = WIDEST) -> int:
        """Width of the whole table."""
        return sum(self.width(position, widest) + GAP for position in range(len(self.header))) - GAP

    def wordy(self) -> bool:
        """Whether a column beside the first holds sentences: such rows are better told one below the other."""
        cells = (cell for position in range(1, len(self.header)) for cell in self.column(position))
        return any(len(cell) > WIDEST for cell in cells)

    def column(self, position: int) -> list[str]:
        """The cells below a heading."""
        return [row[position] for row in self.rows]

    def _is_number(self, position: int) -> bool:
        return all(NUMBER.match(row[position]) for row in self.rows if row[position])

    def markdown(self) -> str:
        """Title and table; a `|` or a line break in a cell does not end it."""

        def line(cells: Sequence[str]) -> str:
            return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"

        body = [line(self.header), line(["---"] * len(self.header)), *(line(row) for row in self.rows)]
        return f"### {self.title}\n\n" + "\n".join(body) + "\n"

    def parts(self, width: int, widest: int = WIDEST) -> list[Cells]:
        """The table as several, each no wider than the terminal and with the first column again."""
        start = self.width(0, widest)
        parts: list[list[int]] = [[]]
        used = start
        for position in range(1, len(self.header)):
            needed = self.width(position, widest) + GAP
            if parts[-1] and used + needed > width:
                parts.append([])
                used = start
            parts[-1].append(position)
            used += needed
        return [self._only([0, *part], "" if number == 0 else ", continued") for number, part in enumerate(parts)]

    def _only(self, columns: Sequence[int], suffix: str) -> Cells:
        rows = [[row[c] for c in columns] for row in self.rows]
        return replace(self, title=self.title + suffix, header=[self.header[c] for c in columns], rows=rows)

    def first(self, count: int) -> Cells:
        """The first rows, with a word in the title where there are more."""
        if len(self.rows) <= count:
            return self
        return replace(self, title=f"{self.title} (the first {count} of {len(self.rows)} rows)", rows=self.rows[:count])

    def without_minor(self) -> Cells:
        """The table without its minor columns, with a word in the title on where they are."""
        gone = [heading for heading in self.header if heading in self.minor]
        kept = [c for c, heading in enumerate(self.header) if heading not in self.minor]
        return self._only(kept, f" (in report.md also {', '.join(gone)})" if gone else "")

    def without_empty(self) -> Cells:
        """The table without the columns that have no text, the first column aside."""
        kept = [c for c in range(len(self.header)) if c == 0 or any(row[c] for row in self.rows)]
        return self._only(kept, "")


def _folded(text: str, width: int) -> str:
    """A cell as rich takes it, broken where the parts of its words end."""
    return escape("\n".join(broken(text, width)) if len(text) > width else text)


def broken(text: str, width: int) -> list[str]:
    """Lines of `width` characters: between words, and inside of a longer one behind the signs that join its parts."""
    rows = [""]
    for word in text.split():
        if len(rows[-1]) + 1 + len(word) <= width:
            rows[-1] = f"{rows[-1]} {word}".lstrip()
            continue
        rows += [""] if rows[-1] else []
        for part in re.findall(rf"[^/_=.,]{{1,{width - 1}}}[/_=.,]?|[/_=.,]", word):
            if len(rows[-1]) + len(part) <= width:
                rows[-1] += part
            else:
                rows.append(part)
    return rows


def longest_word(text: str) -> int:
    """Length of the longest word."""
    return max(map(len, text.split()), default=0)


def mean_text(found: tuple[float, float | None] | None, form: str) -> str:
    """`0.6712 ± 0.0040`, without the second part for a single run and empty for none."""
    if found is None:
        return ""
    mean, sd = found
    return form.format(mean) if sd is None else f"{form.format(mean)} ± {form.format(sd)}"
