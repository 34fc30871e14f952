"""What the tables of scores do not show: runs that did not finish, jobs that failed, files that were cut off."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from semiseg.report.collect import Run
from semiseg.report.table import Cells

UNDER_WAY_OR_DONE = {"finished", "stopped early", "running"}
LISTED = 10  # names in a note
MEANING = {
    "interrupted": "stopped by hand",
    "failed": "ended with an error",
    "no summary": "still running, or killed before its end",
}


@dataclass(frozen=True)
class Job:
    """A job of a sweep that left no result."""

    sweep: str
    number: int
    overrides: str
    status: str
    error: str
    folder: Path


def failed_jobs(sweeps: Iterable[Path]) -> tuple[list[Job], list[str]]:
    """The jobs without a result of each `sweep.json`, and a note on each file that cannot be read."""
    jobs, notes = [], []
    for path in sweeps:
        try:
            listed = json.loads(path.read_text(encoding="utf-8"))["jobs"]
            jobs += [_job(path.parent, each) for each in listed if each["status"] not in UNDER_WAY_OR_DONE]
        except (OSError, ValueError, KeyError, TypeError):
            notes.append(f"{path} cannot be read: failed jobs of this sweep are shown only as unfinished runs.")
    return jobs, notes


def _job(sweep: Path, facts: Mapping[str, object]) -> Job:
    overrides = facts.get("overrides")
    typed = " ".join(map(str, overrides)) if isinstance(overrides, list) else ""
    error = facts.get("error")
    folder = sweep / str(facts.get("folder") or facts["number"])
    return Job(sweep.name, int(str(facts["number"])), typed, str(facts["status"]), str(error or ""), folder)


def job_table(jobs: Sequence[Job]) -> Cells:
    """A row a job that failed, was interrupted or never started."""
    rows = [[job.sweep, str(job.number), job.overrides, job.status, job.error] for job in jobs]
    return Cells("Failed and missing jobs of sweeps", ["sweep", "job", "overrides", "status", "error"], rows)


def unfinished_table(runs: Sequence[Run], root: Path) -> Cells:
    """A row a run that did not finish, with how far it came."""
    rows = []
    for run in runs:
        reached, best = progress(run)
        meaning = "summary.json is damaged" if damaged(run) else MEANING.get(run.status, "")
        rows.append([shown_folder(run, root), run.model, run.status, meaning, reached, best])
    return Cells("Unfinished runs", ["run", "model", "status", "meaning", "steps", "best val mIoU so far"], rows)


def damaged(run: Run) -> bool:
    """Whether there is a summary that is no JSON object."""
    return not run.summary and (run.folder / "summary.json").is_file()


def progress(run: Run) -> tuple[str, str]:
    """The last logged step and the best score so far, as text; empty where nothing was logged."""
    last = max((int(series.steps[-1]) for series in run.history.values()), default=None)
    best = run.history.get("best/val_miou")
    return "" if last is None else f"{last:,}", "" if best is None else f"{best.values[-1]:.4f}"


def shown_folder(run: Run, root: Path) -> str:
    """The folder as seen from the one that was searched."""
    return run.folder.relative_to(root).as_posix() if run.folder.is_relative_to(root) else run.folder.as_posix()


def gaps(runs: Sequence[Run], root: Path) -> list[str]:
    """Notes on what finished runs lack, so that a gap in the report has a reason."""
    lacking: dict[str, list[str]] = {}
    for run in runs:
        for part in missing_parts(run):
            lacking.setdefault(part, []).append(shown_folder(run, root))
    return [f"{some(folders)}: {part}." for part, folders in lacking.items()]


def some(names: Sequence[str]) -> str:
    """The names, or the first few of many."""
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more


def missing_parts(run: Run) -> list[str]:
    """What a finished run lacks, and what follows for the report."""
    history = run.folder / "metrics.jsonl"
    checks = [
        (bool(run.settings), "no config (.hydra/config.yaml)"),
        (bool(run.history), "no metrics.jsonl, hence no curves"),
        (not cut(history), "metrics.jsonl ends in a cut line, which is passed over"),
        (run.matrices() is not None, "no confusion_best.npz, hence no intervals"),
        ((run.folder / "examples.npz").is_file(), "no examples.npz, hence no pictures"),
    ]
    return [text for fine, text in checks if not fine]


def cut(path: Path) -> bool:
    """Whether a file of lines does not end with the end of one, as after a kill or on a full disk."""
    try:
        with path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"
    except OSError:  # empty or not there
        return False
