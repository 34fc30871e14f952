"""report.html: one file that needs nothing but a browser, made of tables and figures."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from semiseg.report.drawing import GRID, INK, MUTED, PAPER
from semiseg.report.table import BY_COLUMN, Cells

FOLDER = Path(__file__).parent
SVG_LIMIT = 400_000  # characters; a larger SVG gives way to its PNG where that one is smaller
WIDE_FROM = 500  # points of width from which a figure takes a whole row
THEME = {INK: "var(--ink)", MUTED: "var(--muted)", GRID: "var(--line)", PAPER: "var(--paper)"}
NAMED = ("recipe", "run", "rung", "system", "job")  # first headings of tables whose rows can be held side by side
TYPED = (
    "remedy",
    "command",
    "overrides",
    "folder",
    "commit",
    "setting",
    "data",
)  # headings above what is typed or copied
NUMBER = re.compile(r"[+-]?[\d,]*\.?\d+(e[+-]?\d+)?( ?%)?( ±.*| \(×.*\)| \*)?|\[[+-]?\d.*\]")
TONES = {
    "better": "good", "excellent": "good", "good": "good", "finished": "good",
    "worse": "bad", "below minimum": "bad", "failed": "bad",
    "not distinguishable": "open", "too few seeds": "open", "minimum": "open", "interrupted": "open",
}  # fmt: skip


@dataclass(frozen=True)
class Chapter:
    """A part of the page. `pictures` are (title, caption, path of the SVG); its PNG lies beside it.

    Rows of chapters with the same `cohort` can be held side by side.
    """

    title: str
    intro: str = ""
    tables: Sequence[Cells] = ()
    pictures: Sequence[tuple[str, str, Path]] = ()
    notes: Sequence[str] = ()
    cohort: str = ""


@dataclass(frozen=True)
class TableView:
    """A table with what the template needs to know of its rows and columns."""

    cells: Cells

    @property
    def by_column(self) -> bool:
        """Whether it has a column a recipe."""
        return self.cells.header[0] in BY_COLUMN

    @cached_property
    def named(self) -> bool:
        """Whether its rows can be held side by side."""
        return self.cells.header[0] in NAMED and len(self.cells.rows) > 1

    @cached_property
    def name_columns(self) -> int:
        """How many of the first columns tell the rows apart; all where none do."""
        width = len(self.cells.header)
        unlike = (
            n for n in range(1, width) if len({tuple(row[:n]) for row in self.cells.rows}) == len(self.cells.rows)
        )
        return next(unlike, width)

    def name(self, row: Sequence[str]) -> str:
        """What a row is found by in the other tables."""
        return ", ".join(row[: self.name_columns])

    @cached_property
    def css(self) -> list[str]:
        """Classes of the cells of each column."""
        return [self._css(column) for column in range(len(self.cells.header))]

    def _css(self, column: int) -> str:
        found = [row[column] for row in self.cells.rows if row[column]]
        number = column > 0 and bool(found) and all(NUMBER.fullmatch(text) for text in found)
        return " ".join(["number"] * number + ["typed"] * (self.cells.header[column] in TYPED))


@dataclass(frozen=True)
class Plate:
    """A figure as it stands in the page."""

    title: str
    caption: str
    html: Markup
    wide: bool


def render(title: str, chapters: Sequence[Chapter], facts: Mapping[str, str]) -> str:
    """The page as text. `facts` stand below its title.

    Nothing of it is fetched from anywhere, and a content security policy forbids it: only the script of this
    package runs, whatever a run is called.
    """
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script, style = ((FOLDER / name).read_text(encoding="utf-8") for name in ("page.js", "page.css"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    numbered = iter(range(1, sum(len(chapter.pictures) for chapter in chapters) + 1))
    shown = [
        (
            chapter,
            [TableView(cells) for cells in chapter.tables],
            [plate(*each, next(numbered)) for each in chapter.pictures],
        )
        for chapter in chapters
    ]
    return environment.get_template("page.html.j2").render(
        title=title, facts=facts, chapters=shown, tones=TONES, script=Markup(script), style=Markup(style), digest=digest
    )


def plate(title: str, caption: str, path: Path, number: int) -> Plate:
    """A figure inlined: as SVG, which takes the colours of the page, or as PNG where the SVG is large."""
    svg = path.read_text(encoding="utf-8")
    found = re.search(r'<svg[^>]*?\bwidth="([\d.]+)pt"', svg)
    wide = found is not None and float(found[1]) > WIDE_FROM
    png = path.with_suffix(".png")
    if len(svg) > SVG_LIMIT and png.is_file() and png.stat().st_size * 4 / 3 < len(svg):
        data = base64.b64encode(png.read_bytes()).decode()
        return Plate(title, caption, Markup('<img src="data:image/png;base64,{}" alt="{}">').format(data, title), wide)
    return Plate(title, caption, inline_svg(svg, title, f"f{number}-"), wide)


def inline_svg(svg: str, title: str, prefix: str) -> Markup:
    """An SVG file as an element: without prolog, namespaces and metadata, ids unlike those of other figures, and its
    ink and paper those of the page's theme."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r' xmlns(:\w+)?="[^"]*"', "", body)
    body = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{prefix}", body)
    body = re.sub("|".join(THEME), lambda match: THEME[match[0]], body)
    return Markup(body.replace("<svg", Markup('<svg role="img" aria-label="{}"').format(title), 1))
