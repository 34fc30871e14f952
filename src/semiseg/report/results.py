"""results.csv: a line a run and a line a job without one, for a spreadsheet or a notebook."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from semiseg.report.collect import Run
from semiseg.report.efficiency import COLUMNS
from semiseg.report.group import Cohort, Group
from semiseg.report.leftovers import meaning
from semiseg.report.scores import PSEUDO_LABELS, SCORES, partial

if TYPE_CHECKING:
    from semiseg.report.compare import Comparison

HEAD = ("folder", "status", "left_out", "cohort", "recipe", "seed", "name", "sweep", "experiment", "model")
VERSUS = ("difference", "low", "high", "verdict", "difference_note")  # of the recipe, the same in all its seeds
FACTS = ("data_fingerprint", "steps", "best_step", "train_seconds", "seconds_per_step")
SCORED = tuple(dict.fromkeys(key for _, key, _ in (*SCORES, *PSEUDO_LABELS, *COLUMNS)))
REPEAT = "a later run has the same recipe, seed and data"


def results_csv(comparison: Comparison) -> str:
    """`left_out` says why a line is not in the comparison, and is empty where it is."""
    runs = comparison.runs
    choices = list(dict.fromkeys(name for run in runs for name in run.choices if name != "model"))
    classes = list(dict.fromkeys(name for run in runs for name in run.class_iou))
    out = io.StringIO()
    head = [*HEAD, *choices, *VERSUS, *FACTS, *SCORED, *(f"iou/{name}" for name in classes)]
    writer = csv.DictWriter(out, head, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: line.get(key) for key in head} for line in lines(comparison))
    return out.getvalue()


def lines(comparison: Comparison) -> Iterator[Mapping[str, object]]:
    """What is known of each run, then of each job that left no run."""
    placed = {id(run): own for cohort in comparison.cohorts for run, own in in_cohort(cohort)}
    errors = {job.folder: job for job in comparison.jobs}
    repeats = {id(run) for run in comparison.repeats}
    for run in comparison.runs:
        job = errors.pop(run.folder, None)
        reason = REPEAT if id(run) in repeats else "" if run.finished else meaning(run) or "not finished"
        yield {**facts(run), "left_out": (job.error if job else "") or reason, **placed.get(id(run), {})}
    for job in errors.values():
        yield {
            "folder": job.folder.as_posix(), "status": job.status, "left_out": job.error or "no result",
            "name": str(job.number), "sweep": job.sweep, "recipe": job.overrides,
        }  # fmt: skip


def in_cohort(cohort: Cohort) -> Iterator[tuple[Run, dict[str, object]]]:
    """Each run with its cohort, its recipe, and what that is against the baseline."""
    for group in cohort.groups:
        own = {"cohort": cohort.title or "data 1", "recipe": group.name, **versus(group, cohort.baseline)}
        yield from ((run, own) for run in group.runs)


def versus(group: Group, base: Group | None) -> dict[str, object]:
    """Difference, interval and verdict of a recipe; empty where nothing can be resampled."""
    if base is None or group is base:
        return {} if base is None else {"verdict": "baseline"}
    found = group.difference(base)
    if found is None:
        return {}
    note = "; ".join(text for each in (group, base) if (text := partial(each)))
    numbers = {"difference": found.mean, "low": found.low, "high": found.high}
    return {**numbers, "verdict": found.verdict, "difference_note": note}


def facts(run: Run) -> dict[str, object]:
    """The numbers and words of a run."""
    summary = {key: run.summary.get(key) for key in FACTS}
    ious = {f"iou/{name}": value for name, value in run.class_iou.items()}
    own = {"folder": run.folder.as_posix(), "status": run.status, "name": run.name, "sweep": run.sweep,
           "experiment": run.experiment, "seed": run.seed}  # fmt: skip
    return {**run.choices, **summary, **own, **{key: run.number(key) for key in SCORED}, **ious}
