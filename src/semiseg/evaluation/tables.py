"""An evaluation as tables: coloured in a terminal, plain in a pipe or a file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from rich.console import Console as Terminal

from semiseg.engine.metrics import Metrics
from semiseg.evaluation.measure import Evaluation
from semiseg.evaluation.scores import Scores
from semiseg.printable import say
from semiseg.report.table import Cells
from semiseg.report.terminal import fitted
from semiseg.shell import as_typed

LABELS = {
    "miou": "mIoU", "miou_all": "mIoU, every class", "accuracy": "pixel accuracy", "mean_accuracy": "mean accuracy",
    "fw_iou": "frequency-weighted IoU", "boundary_miou": "boundary mIoU", "ece": "calibration error (ECE)",
    "overconfidence": "confidence minus accuracy",
}  # fmt: skip
WORST = 5  # sources that are shown; metrics.csv has all


def print_tables(terminal: Terminal, evaluation: Evaluation, facts: Mapping[str, Any], precision: float) -> None:
    """Everything but the lines of single sources, the worst of them aside."""
    say(terminal, f"{facts['split']}: {facts['patches']:,} patches of {facts['sources']:,} sources in {facts['data']}")
    scores = evaluation.headline
    tables = [overview(evaluation), classes(evaluation), worst_sources(evaluation), thresholds(evaluation, precision)]
    for cells in (each for each in tables if each.rows):
        terminal.print()
        for part in fitted(cells, terminal.width):
            terminal.print(part)
    for line in verdicts(evaluation):
        terminal.print()
        say(terminal, line, style="bold")
    terminal.print()
    say(terminal, advice(scores, precision), style="bold")
    names = evaluation.subject.bundle.classes.names
    if evaluation.subject.excluded:
        say(terminal, f"The means leave out: {', '.join(names[number] for number in evaluation.subject.excluded)}")
    if absent := [names[number] for number in scores.metrics.absent]:
        say(terminal, f"Absent from truth and prediction, and so from the means: {', '.join(absent)}")
    for warning in warnings_of(evaluation):
        say(terminal, f"Warning: {warning}", style="yellow")


def warnings_of(evaluation: Evaluation) -> list[str]:
    """What makes the figures doubtful."""
    unread = evaluation.unread
    lines = [f"{len(unread):,} patches could not be read and were left out, the first: {unread[0]}"] if unread else []
    return [*evaluation.subject.warnings, *lines]


def overview(evaluation: Evaluation) -> Cells:
    """A row a figure; a column a system, and what an ensemble gains."""
    systems = [*evaluation.members, *([evaluation.ensemble] if evaluation.ensemble else [])]
    values, gains = [system.values() for system in systems], evaluation.gains()
    rows = [
        [label, *(text(each[key]) for each in values), *(signed(gain) for gain in gains.get(key, {}).values())]
        for key, label in LABELS.items()
    ]
    heads = ["over best", "over mean"] if gains else []
    width = 1 + len(systems) + len(heads)
    return Cells("Scores", ["metric", *(s.name for s in systems), *heads], [r + [""] * (width - len(r)) for r in rows])


def verdicts(evaluation: Evaluation) -> list[str]:
    """Where the ensemble is worse than one of its members alone, in words; nothing where it is not."""
    if evaluation.ensemble is None:
        return []
    lines = []
    ours, members = evaluation.ensemble.values(), {each.name: each.values() for each in evaluation.members}
    best = max(members, key=lambda name: members[name]["miou"])
    if ours["miou"] < members[best]["miou"]:
        lines.append(f"The ensemble is worse than {best} alone: {change('miou', members[best], ours)}.")
    calm = min(members, key=lambda name: members[name]["ece"])
    if ours["ece"] > members[calm]["ece"]:
        lines.append(f"Its confidence is less to be trusted than that of {calm}: {change('ece', members[calm], ours)}.")
    return lines


def change(figure: str, member: Mapping[str, float], ensemble: Mapping[str, float]) -> str:
    """A figure of a member, that of the ensemble, and how much worse it is."""
    before, after = member[figure], ensemble[figure]
    return f"{LABELS[figure]} {text(before)} -> {text(after)}, worse by {abs(after - before):.4f}"


def titled(title: str, evaluation: Evaluation) -> str:
    """Says whose figures a table holds, where there are several systems."""
    return title if evaluation.ensemble is None else f"{title}, of the ensemble"


def classes(evaluation: Evaluation) -> Cells:
    """A row a class."""
    scores = evaluation.headline
    metrics = scores.metrics
    columns = (metrics.iou, scores.boundary_iou, metrics.precision, metrics.recall, metrics.f1)
    share = metrics.matrix.sum(1) / metrics.matrix.sum()
    rows = [
        [name, *(text(column[number]) for column in columns), f"{share[number]:.2%}"]
        for number, name in enumerate(evaluation.subject.bundle.classes.names)
    ]
    head = ["class", "IoU", "boundary IoU", "precision", "recall", "F1", "share of the truth"]
    return Cells(titled("Classes", evaluation), head, rows)


def worst_sources(evaluation: Evaluation) -> Cells:
    """The base images with the lowest mIoU."""
    scores, (names, of_patch) = evaluation.headline, evaluation.subject.sources
    patches = np.bincount(of_patch, minlength=len(names))
    metrics = [Metrics(matrix, scores.excluded) for matrix in scores.matrices]
    order = sorted((n for n in range(len(names)) if not math.isnan(metrics[n].miou)), key=lambda n: metrics[n].miou)
    rows = [
        [names[n], f"{patches[n]:,}", text(metrics[n].miou), text(metrics[n].accuracy)]
        for n in order[: WORST if len(names) > WORST else len(names)]
    ]
    title = f"The {WORST} lowest of {len(names):,} sources" if len(names) > WORST else "Sources"
    return Cells(titled(title, evaluation), ["source", "patches", "mIoU", "pixel accuracy"], rows)


def thresholds(evaluation: Evaluation, precision: float) -> Cells:
    """The lowest threshold of each class whose pseudo labels are right to `precision`."""
    confidence = evaluation.headline.confidence
    rows = []
    for number, threshold in enumerate(confidence.suggested(precision, evaluation.subject.excluded)):
        name, first = evaluation.subject.bundle.classes.names[number], confidence.precision[number, 0]
        if threshold is None:
            why = "left out of the mIoU" if number in evaluation.subject.excluded else "none reaches it"
            rows.append([name, text(first), "", "", "", why])
            continue
        step = round(threshold * len(confidence.thresholds))
        kept = [text(curve[number, step]) for curve in (confidence.precision, confidence.coverage)]
        rows.append([name, text(first), f"{threshold:.2f}", *kept, ""])
    head = ["class", "unthresholded", "threshold", "precision", "coverage", "never, because"]
    return Cells(titled(f"Pseudo-label thresholds for a precision of {precision:.0%}", evaluation), head, rows)


def advice(scores: Scores, precision: float) -> str:
    """The override with what it would keep, or why there is none."""
    typed = override(scores, precision)
    if typed is None:
        return f"No class reaches a precision of {precision:.0%} at any threshold: its pseudo labels would be noise."
    reached, coverage = scores.confidence.joint(scores.confidence.suggested(precision, scores.excluded))
    return f"To train on {coverage:.1%} of the pixels, {reached:.1%} of them right: {typed}"


def override(scores: Scores, precision: float) -> str | None:
    """The suggested thresholds, to paste behind `semiseg train`; None where no class has one."""
    suggested = scores.confidence.suggested(precision, scores.excluded)
    if all(each is None for each in suggested):
        return None
    values = ",".join("null" if each is None else f"{each:.2f}" for each in suggested)
    return as_typed(f"pseudo_label.class_thresholds=[{values}]")


def text(value: float) -> str:
    """A figure with four digits; nothing where it is undefined."""
    return "" if math.isnan(value) else f"{value:.4f}"


def signed(value: float) -> str:
    """A difference with its sign."""
    return "" if math.isnan(value) else f"{value:+.4f}"
