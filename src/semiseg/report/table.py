"""Runs side by side: the same cells as a terminal table and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.markup import escape
from rich.table import Table

from semiseg.report.collect import Group, Run

Column = tuple[str, str, str]  # heading, key of summary.json, form of a number

SCORES: tuple[Column, ...] = (
    ("best val mIoU", "best_val_miou", "{:.4f}"),
    ("final val mIoU", "final_val_miou", "{:.4f}"),
    ("gap", "gap", "{:.4f}"),
)
PSEUDO_LABELS: tuple[Column, ...] = (
    ("ST pixels", "st_pixels", "{:,.0f}"),
    ("ST images", "st_images", "{:.1f}"),
    ("ST coverage", "st_coverage", "{:.3f}"),
    ("ST precision", "st_precision", "{:.3f}"),
)
COST: tuple[Column, ...] = (
    ("parameters", "parameters", "{:,.0f}"),
    ("s/step", "seconds_per_step", "{:.3f}"),
    ("memory MiB", "peak_memory_mib", "{:,.0f}"),
)
SHOWN = 4  # single settings in the name of a recipe
NUMBERS = (*SCORES, *PSEUDO_LABELS, *COST)


@dataclass(frozen=True)
class Cells:
    """A table as text, before it is drawn."""

    title: str
    header: list[str]
    rows: list[list[str]]

    def rich(self) -> Table:
        table = Table(title=escape(self.title), title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0))
        table.add_column(escape(self.header[0]), overflow="fold", min_width=16)
        for name in self.header[1:]:
            table.add_column(escape(name), no_wrap=True, justify="right")
        for row in self.rows:
            table.add_row(*(escape(cell) for cell in row))
        return table

    def markdown(self) -> str:
        def line(cells: Sequence[str]) -> str:
            return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

        body = [line(self.header), line(["---"] * len(self.header)), *(line(row) for row in self.rows)]
        return f"## {self.title}\n\n" + "\n".join(body) + "\n"


def comparison_tables(groups: Sequence[Group], baseline: Group | None, where: str = "") -> list[Cells]:
    """Scores, pseudo labels, cost and class IoU, a row a recipe: four tables, because one is too wide to read.

    With a baseline, the scores hold the difference of the mean best validation mIoU to it. A table for which no run
    has a number is left out.
    """
    scores = number_table(f"Scores{where}", groups, SCORES)
    scores = with_column(scores, 1, ["seeds", *(", ".join(group.seeds) for group in groups)])
    if baseline is not None:
        scores = with_column(
            scores, len(scores.header), ["vs baseline", *(versus(group, baseline) for group in groups)]
        )
    pseudo_labels = number_table(f"Pseudo labels{where}", groups, PSEUDO_LABELS)
    cost = number_table(f"Cost{where}", groups, COST)
    tables = [scores, pseudo_labels, cost, class_table(f"Class IoU{where}", groups)]
    return [table for table in tables if len(table.header) > 1]


def number_table(title: str, groups: Sequence[Group], columns: Sequence[Column]) -> Cells:
    """Mean ± sd over seeds of the facts that any recipe has."""
    known = [column for column in columns if any(group.values(column[1]) for group in groups)]
    rows = [[mean_text(group, key, form) for _, key, form in known] for group in groups]
    return with_column(Cells(title, [heading for heading, _, _ in known], rows), 0, ["recipe", *recipes(groups)])


def class_table(title: str, groups: Sequence[Group]) -> Cells:
    """Mean ± sd over seeds of each class's IoU; "absent" where no run has it."""
    classes = list(dict.fromkeys(name for group in groups for run in group.runs for name in run.class_iou))
    by_class = [Group(tuple(Run(run.folder, run.class_iou) for run in group.runs)) for group in groups]
    rows = [[mean_text(group, name, "{:.4f}") or "absent" for name in classes] for group in by_class]
    return with_column(Cells(title, classes, rows), 0, ["recipe", *recipes(groups)])


def with_column(cells: Cells, position: int, column: Sequence[str]) -> Cells:
    """The table with one more column: a heading and a cell a row."""
    lines = [
        [*line[:position], cell, *line[position:]]
        for line, cell in zip([cells.header, *cells.rows], column, strict=True)
    ]
    return Cells(cells.title, lines[0], lines[1:])


def recipes(groups: Sequence[Group]) -> list[str]:
    """What tells each recipe apart, as a user would type it: `v3 pseudo_label=softmax optim.lr=0.003`.

    That is the model, every config group in which the recipes differ, and the first few single settings that differ.
    """
    names = dict.fromkeys(name for group in groups for name in group.choices)
    differing = [n for n in names if n != "model" and len({group.choices.get(n) for group in groups}) > 1]
    texts = []
    for group in groups:
        choices = [f"{name}={group.choices[name]}" for name in differing if name in group.choices]
        keys = sorted({key for other in groups for key in own_settings(group, other)})
        single = [f"{key}={group.runs[0].settings[key]}" for key in keys[:SHOWN]]
        more = [f"+{len(keys) - SHOWN} more"] if len(keys) > SHOWN else []
        texts.append(" ".join([group.choices["model"], *choices, *single, *more]))
    return texts


def own_settings(group: Group, other: Group) -> list[str]:
    """Single settings in which a recipe differs from another of the same model.

    Settings of a group in which the two made different choices are left out: the choice says it. Settings that only
    one of them has count where nothing else differs, since they mostly follow from one that both have.
    """
    if group.choices["model"] != other.choices["model"]:
        return []  # nearly all would differ
    mine, theirs = group.runs[0].settings, other.runs[0].settings
    alike = [key for key in mine if group.choices.get(head(key)) == other.choices.get(head(key))]
    return [k for k in alike if k in theirs and mine[k] != theirs[k]] or [k for k in alike if k not in theirs]


def head(key: str) -> str:
    """The config group of a setting: `optim.lr` -> `optim`."""
    return key.partition(".")[0]


def mean_text(group: Group, key: str, form: str) -> str:
    """`0.6712 ± 0.0040` over the runs of a group, without the second part where nothing varies."""
    found = group.mean_sd(key)
    if found is None:
        return ""
    mean, sd = found
    return form.format(mean) if not sd else f"{form.format(mean)} ± {form.format(sd)}"


def versus(group: Group, baseline: Group) -> str:
    """Signed difference of the mean best validation mIoU."""
    mine, other = group.mean_sd("best_val_miou"), baseline.mean_sd("best_val_miou")
    if group is baseline:
        return "baseline"
    return f"{mine[0] - other[0]:+.4f}" if mine and other else ""
