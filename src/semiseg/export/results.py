"""The figures of exported systems: measured side by side, as export.json and as a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from semiseg.evaluation.measure import measure
from semiseg.evaluation.scores import Scores
from semiseg.evaluation.subject import Subject
from semiseg.export.costs import latencies, peak_memory
from semiseg.export.files import Exported
from semiseg.report.table import Cells

Row = dict[str, Any]
DASH = "-"


def size_rows(systems: Sequence[Exported]) -> list[Row]:
    """What is known of each file without running it; the first system is what the others are held against."""
    first = systems[0].path.stat().st_size
    return [
        {
            "name": each.label,
            "file": each.path,
            "mib": each.path.stat().st_size / 2**20,
            "times_smaller": first / each.path.stat().st_size,
            **(asdict(each.agreement) if each.agreement else {}),
        }
        for each in systems
    ]


def cost_rows(systems: Sequence[Exported], images: Sequence[Tensor]) -> list[Row]:
    """Latency and memory on images of the size of the first."""
    height, width = images[0].shape[-2:]
    times = latencies({each.label: each.open for each in systems}, images)
    return [
        {"latency": times[each.label], "memory_mib": peak_memory(each.path, height, width), "size": [height, width]}
        for each in systems
    ]


def score_rows(
    systems: Sequence[Exported], subject: Subject, batch_size: int, advance: Callable[[int], None]
) -> list[Row]:
    """mIoU over the patches of the subject, and what it lost or gained against the first system."""
    predictors = {each.label: each.open() for each in systems}
    scores = measure(predictors, subject, batch_size, torch.device("cpu"), advance=advance).members
    names = subject.bundle.classes.names
    return [score_row(each, scores[0], names) for each in scores]


def score_row(scores: Scores, first: Scores, names: Sequence[str]) -> Row:
    """The change is in points: hundredths of mIoU."""
    values = scores.values()
    return {
        "miou": values["miou"],
        "miou_change_points": 100 * (values["miou"] - first.values()["miou"]),
        "accuracy": values["accuracy"],
        "class_iou": dict(zip(names, scores.metrics.iou, strict=True)),
    }


def table(rows: Sequence[Mapping[str, Any]]) -> Cells:
    """A row a system; without the columns of what was not measured."""
    header = ["system", "MiB", "smaller"]
    lines = [[row["name"], f"{row['mib']:.2f}", f"{row['times_smaller']:.2f}x"] for row in rows]
    if "latency" in rows[0]:
        header += [f"ms, {_count(each['threads'], 'thread')}, batch {each['batch']}" for each in rows[0]["latency"]]
        header.append("memory MiB")
        for line, row in zip(lines, rows, strict=True):
            line += [f"{each['ms']:.1f} ({each['speedup']:.2f}x)" for each in row["latency"]]
            line.append(f"{row['memory_mib']:,.0f}")
    if "miou" in rows[0]:
        header += ["mIoU", "points"]
        for line, row in zip(lines, rows, strict=True):
            line += [f"{row['miou']:.4f}", f"{row['miou_change_points']:+.2f}"]
    header += ["largest difference", "same class"]
    for line, row in zip(lines, rows, strict=True):
        known = "same_class" in row
        line += [f"{row['largest_difference']:.1e}", f"{row['same_class']:.2%}"] if known else [DASH, DASH]
    return Cells("Exported", header, lines)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number > 1)}"
