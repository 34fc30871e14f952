"""The files of an evaluation: evaluation.json, metrics.csv and figures/."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from semiseg.engine.metrics import Metrics
from semiseg.evaluation.boundary import DILATION_RATIO
from semiseg.evaluation.confidence import CALIBRATION_BINS, Confidence
from semiseg.evaluation.figures import pictures
from semiseg.evaluation.measure import Evaluation
from semiseg.evaluation.scores import MEASURES, Scores, means
from semiseg.evaluation.tables import override, warnings_of
from semiseg.files import write_json, write_text
from semiseg.report.drawing import save


def write_files(evaluation: Evaluation, facts: Mapping[str, Any], precision: float, out: Path) -> list[Path]:
    """Write all files, each whole or not at all; the paths of the figures and of the two tables."""
    write_json(out / "evaluation.json", {**facts, **contents(evaluation, precision)})
    write_text(out / "metrics.csv", sources_csv(evaluation))
    drawn = [save(picture, out / "figures")[0] for picture in pictures(evaluation, precision)]
    return [out / "evaluation.json", out / "metrics.csv", *drawn]


def contents(evaluation: Evaluation, precision: float) -> dict[str, Any]:
    """Every figure, those of single sources aside; null where one is undefined."""
    scores, names = evaluation.headline, evaluation.subject.bundle.classes.names
    return {
        "classes": list(names),
        "miou_leaves_out": [names[number] for number in evaluation.subject.excluded],
        "absent_classes": [names[number] for number in scores.metrics.absent],
        "metrics": scores.values(),
        "per_class": per_class(scores, names),
        "boundary": {"dilation_ratio": DILATION_RATIO},
        "confusion": scores.metrics.matrix,  # rows truth
        "calibration": calibration(scores.confidence),
        "thresholds": thresholds(scores, names, precision),
        "members": {each.name: each.values() for each in evaluation.members},
        "gain": evaluation.gains(),
        "warnings": warnings_of(evaluation),
        "unread": evaluation.unread,
    }


def per_class(scores: Scores, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Every measure of each class, and its pixels in truth and prediction."""
    metrics = scores.metrics
    columns = {measure: getattr(metrics, measure) for measure in MEASURES} | {
        "boundary_iou": scores.boundary_iou,
        "pixels": metrics.matrix.sum(1),
        "predicted_pixels": metrics.matrix.sum(0),
    }
    return {name: {key: column[n] for key, column in columns.items()} for n, name in enumerate(names)}


def calibration(confidence: Confidence) -> dict[str, Any]:
    """ECE and the bins that it is made of."""
    edges = np.linspace(0, 1, CALIBRATION_BINS + 1)
    columns = {
        "above": edges[:-1],
        "up_to": edges[1:],
        "pixels": confidence.pixels,
        "confidence": confidence.mean_confidence,
        "accuracy": confidence.accuracy,
    }
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    return {"ece": confidence.ece, "overconfidence": confidence.overconfidence, "bins": rows}


def thresholds(scores: Scores, names: Sequence[str], precision: float) -> dict[str, Any]:
    """Precision and coverage of each class over the thresholds, and the thresholds that reach `precision`."""
    confidence = scores.confidence
    suggested = confidence.suggested(precision, scores.excluded)
    reached, coverage = confidence.joint(suggested)
    return {
        "target_precision": precision,
        "suggested": dict(zip(names, suggested, strict=True)),
        "precision": reached,
        "coverage": coverage,
        "override": override(scores, precision),
        "threshold": confidence.thresholds,
        "classes": {
            name: {"precision": confidence.precision[number], "coverage": confidence.coverage[number]}
            for number, name in enumerate(names)
        },
    }


def sources_csv(evaluation: Evaluation) -> str:
    """A line a system and base image; a cell is empty where its figure is undefined."""
    out = io.StringIO()
    lines = list(source_lines(evaluation))
    writer = csv.DictWriter(out, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: "" if value != value else value for key, value in line.items()} for line in lines)
    return out.getvalue()


def source_lines(evaluation: Evaluation) -> Iterator[dict[str, Any]]:
    """What `sources_csv` writes."""
    names, (sources, of_patch) = evaluation.subject.bundle.classes.names, evaluation.subject.sources
    patches = np.bincount(of_patch, minlength=len(sources))
    for scores in (*evaluation.members, *([evaluation.ensemble] if evaluation.ensemble else [])):
        for number, source in enumerate(sources):
            metrics = Metrics(scores.matrices[number], scores.excluded)
            head = {"system": scores.name, "source": source, "patches": patches[number], "pixels": metrics.matrix.sum()}
            columns = {f"{m}/{n}": v for m in MEASURES for n, v in zip(names, getattr(metrics, m), strict=True)}
            yield {**head, **means(metrics), **columns}
