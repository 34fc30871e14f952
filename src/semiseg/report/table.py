"""Runs side by side: the same cells as a terminal table and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.markup import escape
from rich.table import Table

from semiseg.report.collect import Group, Run

# heading, key of summary.json, form of a number
COLUMNS = (
    ("val mIoU best", "best_val_miou", "{:.4f}"),
    ("val mIoU final", "final_val_miou", "{:.4f}"),
    ("gap", "gap", "{:.4f}"),
    ("ST pixels", "st_pixels", "{:,.0f}"),
    ("ST images", "st_images", "{:.1f}"),
    ("ST coverage", "st_coverage", "{:.3f}"),
    ("ST precision", "st_precision", "{:.3f}"),
    ("parameters", "parameters", "{:,.0f}"),
    ("s/step", "seconds_per_step", "{:.3f}"),
    ("memory MiB", "peak_memory_mib", "{:,.0f}"),
)


@dataclass(frozen=True)
class Cells:
    """A table as text, before it is drawn."""

    title: str
    header: list[str]
    rows: list[list[str]]

    def rich(self) -> Table:
        table = Table(title=escape(self.title), title_justify="left")
        for name in self.header:
            table.add_column(escape(name), overflow="fold")
        for row in self.rows:
            table.add_row(*(escape(cell) for cell in row))
        return table

    def markdown(self) -> str:
        def line(cells: Sequence[str]) -> str:
            return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

        body = [line(self.header), line(["---"] * len(self.header)), *(line(row) for row in self.rows)]
        return f"## {self.title}\n\n" + "\n".join(body) + "\n"


def score_table(title: str, groups: Sequence[Group], baseline: Group | None) -> Cells:
    """One row a recipe: what distinguishes it, its seeds, mean ± sd of every fact that any recipe has.

    With a baseline, the difference of the mean best validation mIoU to it.
    """
    names = distinguishing_choices(groups)
    columns = [column for column in COLUMNS if any(group.values(column[1]) for group in groups)]
    difference = ["vs baseline"] if baseline else []
    header = [*names, "settings", "seeds", *(heading for heading, _, _ in columns), *difference]
    rows = []
    for group, settings in zip(groups, distinguishing_settings(groups), strict=True):
        scores = [mean_text(group, key, form) for _, key, form in columns]
        versus = [versus_text(group, baseline)] if baseline else []
        rows.append([*(group.choices.get(n, "") for n in names), settings, ", ".join(group.seeds), *scores, *versus])
    return without_empty_columns(Cells(title, header, rows))


def class_table(title: str, groups: Sequence[Group]) -> Cells:
    """One row a recipe, one column a class: mean ± sd of the class IoU."""
    names = distinguishing_choices(groups)
    tables = [[run.summary.get("class_iou") for run in group.runs] for group in groups]
    classes = list(dict.fromkeys(name for t in tables for iou in t if isinstance(iou, dict) for name in iou))
    rows = []
    for group, settings in zip(groups, distinguishing_settings(groups), strict=True):
        by_class = Group(tuple(Run(run.folder, run.summary.get("class_iou") or {}) for run in group.runs))  # type: ignore[arg-type]
        cells = [mean_text(by_class, name, "{:.4f}") for name in classes]
        rows.append([*(group.choices.get(n, "") for n in names), settings, *cells])
    return without_empty_columns(Cells(title, [*names, "settings", *classes], rows))


def distinguishing_choices(groups: Sequence[Group]) -> list[str]:
    """The model, and every config group in which the recipes differ."""
    names = dict.fromkeys(name for group in groups for name in group.choices)
    return [n for n in names if n == "model" or len({group.choices.get(n) for group in groups}) > 1]


def distinguishing_settings(groups: Sequence[Group]) -> list[str]:
    """For each recipe, the settings in which it differs from others of the very same choices ("optim.lr=0.001")."""
    texts = []
    for group in groups:
        twins = [other.runs[0].settings for other in groups if other.choices == group.choices]
        mine = group.runs[0].settings
        keys = sorted({k for twin in twins for k in twin.keys() | mine.keys() if twin.get(k) != mine.get(k)})
        texts.append(", ".join(f"{k}={mine.get(k, 'unset')}" for k in keys))
    return texts


def mean_text(group: Group, key: str, form: str) -> str:
    """`0.6712 ± 0.0040` over the runs of a group, without the second part for one run."""
    found = group.mean_sd(key)
    if found is None:
        return ""
    mean, sd = found
    return form.format(mean) if sd is None else f"{form.format(mean)} ± {form.format(sd)}"


def versus_text(group: Group, baseline: Group) -> str:
    """Signed difference of the mean best validation mIoU."""
    mine, other = group.mean_sd("best_val_miou"), baseline.mean_sd("best_val_miou")
    if group is baseline:
        return "baseline"
    return f"{mine[0] - other[0]:+.4f}" if mine and other else ""


def without_empty_columns(cells: Cells) -> Cells:
    """The table without the columns in which no row has anything."""
    kept = [i for i in range(len(cells.header)) if any(row[i] for row in cells.rows)]
    return Cells(cells.title, [cells.header[i] for i in kept], [[row[i] for i in kept] for row in cells.rows])
