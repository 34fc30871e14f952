"""What all figures of the report have in common: size, style, one look a group, and how they are saved.

Figures are built without pyplot, so that nothing outlives them, and are drawn under `STYLE` from first line to file.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from semiseg.report.group import Cohort, Group
from semiseg.report.scores import leading
from semiseg.report.table import broken

DPI = 110
HALF, WIDE = 6.2, 12.4  # widths in inches: two halves stand side by side in the report
SHOWN = 12  # groups with a look of their own; more lines in one plot cannot be followed
LABEL = 40  # characters of a name in a figure
# Found again by the page, which replaces them by those of the reader's light or dark theme.
INK, MUTED, GRID, PAPER = "#24292f", "#6e7681", "#d8dee5", "#fefefe"
# Okabe and Ito (2008), told apart by every kind of colour vision, without its black and its yellow (too pale on white).
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#8C8C8C")
MARKERS = "osD^vPX"

STYLE: dict[Any, Any] = {
    "font.family": "sans-serif", "font.size": 9.5, "text.color": INK, "text.parse_math": False,  # a "$" in a name
    "figure.facecolor": PAPER, "savefig.facecolor": PAPER, "axes.facecolor": PAPER,
    "axes.edgecolor": MUTED, "axes.labelcolor": INK, "axes.linewidth": 0.8, "axes.axisbelow": True,
    "axes.spines.top": False, "axes.spines.right": False,
    "axes.titlesize": 11, "axes.titleweight": "bold", "axes.titlelocation": "left", "axes.titlepad": 9,
    "axes.grid": True, "grid.color": GRID, "grid.linewidth": 0.6,
    "xtick.color": MUTED, "ytick.color": MUTED, "xtick.labelcolor": INK, "ytick.labelcolor": INK,
    "legend.frameon": False, "legend.fontsize": 9, "lines.linewidth": 1.7, "hatch.linewidth": 0.7,
    "svg.fonttype": "none", "svg.hashsalt": "semiseg",  # text stays text, and the same figure is the same file
}  # fmt: skip


@dataclass(frozen=True)
class Picture:
    """A figure with what is said of it; `name` is the stem of its files."""

    name: str
    title: str
    caption: str
    figure: Figure


@dataclass(frozen=True)
class Look:
    """How a group is drawn in every figure; the colours of the first groups return with other markers, dashes and
    hatches."""

    color: str
    marker: str
    dash: str
    hatch: str


PLAIN = Look(MUTED, "o", "-", "")  # of the groups that have none of their own


def looks(cohort: Cohort) -> dict[Group, Look]:
    """The look of each group that has one: the baseline and the best others, `SHOWN` in all."""
    return {group: look(number) for number, group in enumerate(leading(cohort, SHOWN))}


def look(number: int) -> Look:
    """Of the group of this number."""
    again, place = divmod(number, len(PALETTE))
    return Look(
        PALETTE[place], MARKERS[(place + 3 * again) % len(MARKERS)], ("-", "--")[again % 2], ("", "////")[again % 2]
    )


def selection(cohort: Cohort, shown: int) -> str:
    """The sentence on the groups that a figure leaves out; empty where it shows all."""
    if shown >= len(cohort.groups):
        return ""
    return f"Shown are the baseline and the best {shown - 1} of {len(cohort.groups)} recipes."


def sentences(*parts: str) -> str:
    """A caption of those parts that say something."""
    return " ".join(part for part in parts if part)


def label(text: str, length: int = LABEL) -> str:
    """A name that fits into a figure: a long one without the groups of its settings (`optim.lr=0.1` -> `lr=0.1`), and
    where that is not enough without the words, or the letters, in its middle, since the ends tell recipes apart."""
    if len(text) > length:
        text = re.sub(r"(?<=\s)[\w.]+\.(?=\w+=)", "", text)
    words = text.split()
    for kept in range(len(words) - 1, 1, -1):
        if len(text) > length:
            text = " ".join([*words[: kept // 2], "…", *words[-((kept + 1) // 2) :]])
    half = (length - 1) // 2
    return text if len(text) <= length else f"{text[:half]}…{text[-half:]}"


def wrapped(text: str, width: int, lines: int = 3) -> str:
    """A name in at most `lines` lines of `width` characters."""
    lengths = range(width * lines, 0, -1)
    tried = (broken(label(text, length), width) for length in lengths)
    return "\n".join(next(rows for rows in tried if len(rows) <= lines))


def canvas(title: str, width: float = HALF, height: float = 3.5) -> tuple[Figure, Axes]:
    """A titled figure with one plot; sizes in inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title)
    return figure, axes


def set_title(figure: Figure, title: str) -> None:
    """The title of a figure of several plots, as that of a single one."""
    figure.suptitle(title, x=0.01, ha="left", fontsize=STYLE["axes.titlesize"], fontweight="bold")


def add_legend(figure: Figure, handles: Sequence[Any], names: Sequence[str]) -> None:
    """A legend below the plots, where it hides no data, in as many columns as the names allow."""
    texts = [wrapped(name, LABEL, 2) for name in names]
    lines = [line for text in texts for line in text.splitlines()]
    characters = 13 * figure.get_figwidth()  # of a line of the legend
    columns = max(1, min(4, len(texts), int(characters / (max(map(len, lines)) + 6))))
    rows = -(-len(texts) // columns) * max(text.count("\n") + 1 for text in texts)
    figure.set_figheight(figure.get_figheight() + 0.2 * rows)
    figure.legend(handles, texts, loc="outside lower left", ncols=columns, columnspacing=1.4, handlelength=2.2)


def save(picture: Picture, folder: Path) -> tuple[Path, Path]:
    """Write a picture as PNG and as SVG; the two paths."""
    folder.mkdir(parents=True, exist_ok=True)
    png, svg = (folder / f"{picture.name}.{ending}" for ending in ("png", "svg"))
    with rc_context(STYLE):
        picture.figure.savefig(png, dpi=DPI, metadata={"Software": None})
        picture.figure.set_layout_engine(None)  # what the first drawing found stays: finding it takes half the time
        picture.figure.savefig(svg, metadata={"Date": None})
    return png, svg
