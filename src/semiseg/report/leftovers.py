"""What the tables of scores do not show: runs that did not finish, jobs that failed, files that are cut or damaged."""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from semiseg.report.collect import COMPLETE, CONFIG, Run
from semiseg.report.names import short_floats
from semiseg.report.table import Cells
from semiseg.run_lock import RunLock, alive
from semiseg.sweep.record import still_runs

LOG_TAIL = 65_536  # bytes of a log that are searched for an error
RAISED = re.compile(r"[\w.]*(?:Error|Exception|Exit)\b")
LISTED = 10  # names in a note
MEANING = {
    "interrupted": "stopped by hand",
    "failed": "ended with an error",
    "no summary": "still running, or killed before its end",
}
EXAMPLES = ("names", "image", "truth", "prediction")


@dataclass(frozen=True)
class Job:
    """A job of a sweep that left no result."""

    sweep: str
    number: int
    overrides: str
    varied: str  # those of the overrides in which the jobs of the sweep differ
    status: str  # waiting, running, interrupted, failed
    error: str
    folder: Path


def open_jobs(sweeps: Iterable[Path], finished: Collection[Path] = ()) -> tuple[list[Job], list[str]]:
    """The jobs without a result of each `sweep.json`, and a note on each file that cannot be read.

    A job of the `finished` folders has a result, whatever the sweep knows of it: it was continued by itself.
    """
    jobs, notes = [], []
    for path in sweeps:
        try:
            listed = json.loads(path.read_text(encoding="utf-8"))["jobs"]
            jobs += [_job(path.parent, each) for each in listed if each["status"] not in COMPLETE]
        except (OSError, ValueError, KeyError, TypeError):
            notes.append(f"{path} cannot be read: jobs of this sweep are shown only as unfinished runs.")
    return [job for job in jobs if job.folder not in finished], notes


def _job(sweep: Path, facts: Mapping[str, object]) -> Job:
    typed, varied = (_words(facts.get(key)) for key in ("overrides", "varied"))
    folder = sweep / str(facts.get("folder") or facts["number"])
    status = str(facts["status"])
    if status == "running" and not is_under_way(sweep, folder, facts.get("pid")):
        status = "interrupted"
    error = str(facts.get("error") or (logged_error(folder) if status == "failed" else ""))
    return Job(sweep.name, int(str(facts["number"])), typed, varied or typed, status, error, folder)


def is_under_way(sweep: Path, folder: Path, pid: object) -> bool:
    """Whether a job that was started and whose end nobody saw may still run: its sweep's command does, or it itself."""
    owner = RunLock(sweep).owner()
    return (bool(owner) and alive(owner)) or (isinstance(pid, int) and still_runs(pid, folder))


def _words(listed: object) -> str:
    return " ".join(map(str, listed)) if isinstance(listed, list) else ""


def job_table(jobs: Sequence[Job]) -> Cells:
    """A row a job that was started and left no result."""
    rows = [[job.sweep, str(job.number), short_floats(job.varied), job.status, job.error] for job in jobs]
    return Cells("Failed and missing jobs of sweeps", ["sweep", "job", "overrides", "status", "error"], rows)


def waiting_notes(jobs: Sequence[Job]) -> list[str]:
    """A line a sweep on its jobs that were not started yet: `sweep-a: 22 waiting: 5-26.`"""
    numbers: dict[str, list[int]] = {}
    for job in jobs:
        numbers.setdefault(job.sweep, []).append(job.number)
    return [f"{sweep}: {len(of)} waiting: {spans(of)}." for sweep, of in numbers.items()]


def spans(numbers: Iterable[int]) -> str:
    """Whole numbers with those that follow each other as one: `1, 5-26`."""
    ends: list[list[int]] = []
    for number in sorted(numbers):
        if ends and number == ends[-1][1] + 1:
            ends[-1][1] = number
        else:
            ends.append([number, number])
    return some([str(first) if first == last else f"{first}-{last}" for first, last in ends])


def unfinished_table(runs: Sequence[Run], root: Path, running: Collection[Path] = ()) -> Cells:
    """A row a run that did not finish or whose summary is damaged, with how far it came; `running` are the folders of
    jobs that run, as their sweep says."""
    rows = []
    for run in runs:
        reached, best = progress(run)
        told = ("running", "its sweep is under way") if run.folder in running else (run.status, meaning(run))
        rows.append([shown_folder(run, root), run.model, run.seed, *told, reached, best])
    title = "Unfinished and damaged runs" if any(run.fault for run in runs) else "Unfinished runs"
    return Cells(title, ["run", "model", "seed", "status", "meaning", "steps", "best val mIoU so far"], rows)


def meaning(run: Run) -> str:
    """Why a run is not compared, in words: the error that its log ends with, where it failed and has one."""
    error = logged_error(run.folder) if run.status == "failed" else ""
    return run.fault or error or MEANING.get(run.status, "")


def logged_error(folder: Path) -> str:
    """The last line of a run's log that tells of an error; "" where there is none."""
    try:
        with (folder / "log.txt").open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - LOG_TAIL))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    told = (line.strip() for line in reversed(lines) if line.startswith("semiseg: ") or RAISED.match(line))
    return next(told, "").removeprefix("semiseg: ")


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
        for file, what in missing_parts(run):
            where = shown_folder(run, root)
            lacking.setdefault(what, []).append(f"{where}/{file}" if file else where)
    return [f"{some(places)}: {what}." for what, places in lacking.items()]


def some(names: Sequence[str]) -> str:
    """The names, or the first few of many."""
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more


def by_recipe(named: Iterable[tuple[str, Run]]) -> str:
    """Runs by recipe and seed: `v1 (seeds 0, 1), v3 (seed 2)`."""
    seeds: dict[str, list[str]] = {}
    for recipe, run in named:
        seeds.setdefault(recipe, []).append(run.seed)
    return some([f"{recipe} (seed{'s' * (len(of) > 1)} {', '.join(of)})" for recipe, of in seeds.items()])


def missing_parts(run: Run) -> list[tuple[str, str]]:
    """What a finished run lacks and what follows for the report, each with the file where that is there but damaged."""
    checks = [
        (CONFIG, bool(run.settings), "so what differs is not shown"),
        ("metrics.jsonl", bool(run.history), "hence no curves"),
        ("confusion_best.npz", run.matrices() is not None, "hence no intervals"),
        ("examples.npz", whole(run.folder / "examples.npz", EXAMPLES), "hence no pictures"),
    ]
    found = []
    for file, fine, follows in checks:
        there = (run.folder / file).is_file()
        if not fine:
            found.append((file, f"damaged, {follows}") if there else ("", f"no {file}, {follows}"))
    if cut(run.folder / "metrics.jsonl"):
        found.append(("metrics.jsonl", "ends in a cut line, which is passed over"))
    return found


def whole(path: Path, arrays: Sequence[str]) -> bool:
    """Whether an npz file names these arrays in its last bytes, where a cut file has nothing. Unpacking every file
    to know the rest would take as long as the report itself."""
    try:
        with zipfile.ZipFile(path) as archive:
            return {f"{name}.npy" for name in arrays} <= set(archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def cut(path: Path) -> bool:
    """Whether a file of lines does not end with the end of one, as after a kill or on a full disk."""
    try:
        with path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) != b"\n"
    except OSError:  # empty or not there
        return False
