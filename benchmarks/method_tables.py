"""The tables of the controlled comparison, as Markdown lines, from the result files of benchmarks/methods.py."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import mean, stdev
from typing import Any

Row = dict[str, Any]  # one result file


def spread(values: Sequence[float | None]) -> str:
    """Mean and sample standard deviation of the values there are; a dash where there is none."""
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    return f"{mean(known):.3f} ± {stdev(known):.3f}" if len(known) > 1 else f"{known[0]:.3f}"


def at(row: Row, name: str, step: int) -> float | None:
    """A figure of the history at a step. A continued run has logged some steps twice: the last one counts."""
    return dict(row["history"].get(name, [])).get(step)


def final_iou(row: Row, name: str) -> float | None:
    """IoU of a class at the final evaluation; of the best one in a result without that history."""
    history = row["history"].get(f"val/iou/{name}")
    return history[-1][1] if history else (row["class_iou"] or {}).get(name)


def classes_of(rows: list[Row]) -> list[str]:
    """Every class that a run has an IoU of."""
    return list(dict.fromkeys(name for row in rows for name in row["class_iou"] or {}))


def by_method(rows: list[Row], labels: str) -> dict[str, list[Row]]:
    """The results with these labels, method -> seeds."""
    methods = dict.fromkeys(row["method"] for row in rows)
    found = {m: [row for row in rows if row["method"] == m and row["labels"] == labels] for m in methods}
    return {method: seeds for method, seeds in found.items() if seeds}


def self_training(rows: list[Row], labels: str) -> dict[str, list[Row]]:
    """Those of `by_method` that made pseudo labels."""
    found = by_method(rows, labels)
    return {m: seeds for m, seeds in found.items() if any("st/coverage" in row["history"] for row in seeds)}


def line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def drawn(header: list[str], body: list[list[str]]) -> list[str]:
    """Markdown, or nothing for a table without rows."""
    return [line(header), "|" + "---|" * len(header), *map(line, body)] if body else []


def main_table(rows: list[Row], labels: str) -> list[str]:
    """Scores with the share of the gap between few labels and all of them that each method closes."""
    found = by_method(rows, labels)
    floor, ceiling = found.get("none"), by_method(rows, "all").get("none")
    groups = found | ({"none, all labels": ceiling} if ceiling else {})
    classes = classes_of(rows)
    header = [f"{labels} labels", "seeds", "final val mIoU", "best val mIoU", "gap closed", "ST coverage",
              "ST precision", *(f"final IoU {name}" for name in classes), "s/step"]  # fmt: skip
    body = []
    for name, seeds in groups.items():
        finals, best, coverage, precision, seconds = (
            spread([row[key] for row in seeds])
            for key in ("final_val_miou", "best_val_miou", "st_coverage", "st_precision", "seconds_per_step")
        )
        ious = [spread([final_iou(row, each) for row in seeds]) for each in classes]
        closed = gap_closed(seeds, floor, ceiling)
        body.append([name, str(len(seeds)), finals, best, closed, coverage, precision, *ious, seconds])
    return drawn(header, body)


def gap_closed(seeds: list[Row], floor: list[Row] | None, ceiling: list[Row] | None) -> str:
    """Where the mean final mIoU lies between supervised training on few labels (0 %) and on all (100 %)."""
    if not floor or not ceiling:
        return "-"
    mine, low, high = (mean(row["final_val_miou"] for row in side) for side in (seeds, floor, ceiling))
    return f"{(mine - low) / (high - low):.0%}" if high != low else "-"


def time_table(rows: list[Row], labels: str) -> list[str]:
    """Coverage and precision of the pseudo labels of all classes at each evaluation."""
    methods = self_training(rows, labels)
    steps = sorted({int(step) for seeds in methods.values() for row in seeds for step, _ in row["history"]["val/miou"]})
    body = [
        [method, figure, *(spread([at(row, f"st/{figure}", step) for row in seeds]) for step in steps)]
        for method, seeds in methods.items()
        for figure in ("coverage", "precision")
    ]
    return drawn([f"{labels} labels", "ST", *(f"step {step}" for step in steps)], body)


def class_table(rows: list[Row], labels: str) -> list[str]:
    """Coverage and precision by class at the last step, beside the final IoU of the class."""
    body = []
    for method, seeds in self_training(rows, labels).items():
        for name in classes_of(rows):
            st = [
                spread([at(row, f"st/{figure}/{name}", row["steps"]) for row in seeds])
                for figure in ("coverage", "precision")
            ]
            body.append([method, name, *st, spread([final_iou(row, name) for row in seeds])])
    return drawn([f"{labels} labels", "class", "final ST coverage", "final ST precision", "final IoU"], body)
