"""The files of the report: report.html, report.md, results.csv and the figures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from semiseg.files import write_text
from semiseg.report.contents import Section
from semiseg.report.figures import pictures, save
from semiseg.report.group import Cohort
from semiseg.report.page import Chapter, render
from semiseg.report.results import results_csv

if TYPE_CHECKING:
    from semiseg.report.compare import Comparison

TITLE = "Comparison of runs"
FIGURE = re.compile(r"^!\[.*\]\((figures/[^()]+\.png)\)$", re.MULTILINE)  # as `markdown` links one


@dataclass(frozen=True)
class Drawn:
    """A figure on disk."""

    title: str
    caption: str
    png: Path
    svg: Path


def draw(cohort: Cohort, folder: Path) -> list[Drawn]:
    """Every figure of a cohort as PNG and SVG in `folder`, one at a time in memory."""
    return [Drawn(picture.title, picture.caption, *save(picture, folder)) for picture in pictures(cohort)]


def remove_stale(drawn: Sequence[Sequence[Drawn]], out: Path) -> None:
    """Remove the figures that the report.md of before shows and this report does not: they are of other runs."""
    report = out / "report.md"
    before = FIGURE.findall(report.read_text(encoding="utf-8", errors="replace")) if report.is_file() else []
    kept = {each.png for figures in drawn for each in figures}
    for path in (out / name for name in before if ".." not in name):
        if path not in kept:
            path.unlink(missing_ok=True)
            path.with_suffix(".svg").unlink(missing_ok=True)


def write_report(comparison: Comparison, drawn: Sequence[Sequence[Drawn]], out: Path) -> list[Path]:
    """Write the three files, each whole or not at all; their paths. `drawn` holds the figures of each cohort."""
    parts: list[tuple[Section, Sequence[Drawn], str]] = []
    for cohort, sections, figures in zip(comparison.cohorts, comparison.sections, drawn, strict=True):
        pictured = Section(f"{cohort.title}: Figures" if cohort.title else "Figures")
        # Behind the scores, which they illustrate; the configurations and the provenance are looked up last.
        parts += [(section, (), cohort.title) for section in sections[:2]]
        parts += [(pictured, figures, cohort.title), *((section, (), cohort.title) for section in sections[2:])]
    parts.append((comparison.leftovers, (), "none"))
    shown = [part for part in parts if part[0].tables or part[0].notes or part[1]]
    texts = {
        "report.html": render(TITLE, [chapter(*part) for part in shown], comparison.facts),
        "report.md": markdown(shown, comparison.facts, out),
        "results.csv": results_csv(comparison),
    }
    for name, text in texts.items():
        write_text(out / name, text)
    return [out / name for name in texts]


def chapter(section: Section, figures: Sequence[Drawn], cohort: str) -> Chapter:
    """A section as the page takes it."""
    pictures = [(each.title, each.caption, each.svg) for each in figures]
    return Chapter(section.title, section.intro, section.tables, pictures, section.notes, cohort)


def markdown(parts: Sequence[tuple[Section, Sequence[Drawn], str]], facts: dict[str, str], out: Path) -> str:
    """The report with its figures as links to the PNG files beside it."""
    blocks = [f"# {TITLE}", "\n".join(f"- {name}: {text}" for name, text in facts.items())]
    for section, figures, _ in parts:
        blocks.append(f"## {section.title}")
        blocks += [section.intro] if section.intro else []
        blocks += [table.markdown().rstrip() for table in section.tables]
        for each in figures:
            blocks.append(f"### {each.title}\n\n![{each.title}]({each.png.relative_to(out).as_posix()})")
            blocks += [each.caption] if each.caption else []
        # A star in front would be a list in the list.
        notes = (f"- \\{note}" if note.startswith("*") else f"- {note}" for note in section.notes)
        blocks += ["\n".join(notes)] if section.notes else []
    return "\n\n".join(blocks) + "\n"
