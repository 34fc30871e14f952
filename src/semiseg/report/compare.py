"""`semiseg compare`: runs side by side in the terminal, in report.html, report.md and results.csv, and in MLflow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from omegaconf import DictConfig
from rich.text import Text

from semiseg import __version__
from semiseg.errors import ConfigError, SemisegError
from semiseg.report.collect import Found, Run, find_runs
from semiseg.report.comparable import cohorts, without_repeats
from semiseg.report.contents import Section, section_of_leftovers, sections_of
from semiseg.report.group import Cohort, baselines
from semiseg.report.leftovers import Job, open_jobs, shown_folder
from semiseg.report.options import CompareConfig, options_of
from semiseg.report.store import experiment_of, log_report, store_uri_of, tracker_of
from semiseg.report.terminal import make_terminal, show
from semiseg.report.tracked import tracked_runs
from semiseg.report.write import draw, remove_stale, write_report
from semiseg.shell import program


@dataclass(frozen=True)
class Comparison:
    """What is compared with what, and what is not."""

    cohorts: list[Cohort]
    sections: list[list[Section]]  # of each cohort
    leftovers: Section
    runs: list[Run]  # all, the unfinished ones and the repeats too
    repeats: list[Run]
    jobs: list[Job]  # of sweeps, without a result
    facts: dict[str, str]


def main(cfg: DictConfig) -> None:
    """Print the comparison, write its files to `cfg.out` and log them to MLflow.

    Raises SemisegError where there is no run, none passes the filters, or none answers to the baseline.
    """
    options = options_of(cfg)
    root, out = Path(options.runs).expanduser(), Path(options.out).expanduser()
    found, notes = collect(cfg, options, root, out)
    comparison = compare(found, root, options.baseline, notes)
    terminal = make_terminal()
    for section in [*(each for several in comparison.sections for each in several), comparison.leftovers]:
        show(terminal, section)
    drawn = [draw(cohort, out / "figures" / cohort.title.replace(" ", "-")) for cohort in comparison.cohorts]
    remove_stale(drawn, out)
    written = write_report(comparison, drawn, out)
    terminal.print(Text(f"Written: {', '.join(path.as_posix() for path in written)}"), soft_wrap=True)
    tracker = tracker_of(cfg.tracking, root, experiment_of(comparison.runs))
    lines = [f"Not logged to MLflow: there is no store at or above {root}; tracking.uri= or output= names one."]
    if tracker is not None:
        lines = log_report(tracker, out, {"kind": "report", "baseline": options.baseline or ""})
    for line in lines:
        terminal.print(Text(line), soft_wrap=True)


def collect(cfg: DictConfig, options: CompareConfig, root: Path, out: Path) -> tuple[Found, list[str]]:
    """The runs that are wanted, of the folder and of the MLflow experiment, and notes on what could not be read."""
    notes: list[str] = []
    found = Found([], []) if options.mlflow and not root.is_dir() else find_runs(root)
    if options.mlflow:
        known = {str(run.summary.get("mlflow_run_id")) for run in found.runs}
        try:
            tracked = tracked_runs(store_uri_of(cfg.tracking, root), options.mlflow, known, out / "mlflow")
            found.runs.extend(tracked)
        except ConfigError:
            raise
        except SemisegError as error:
            notes.append(str(error))
    if not found.runs:
        reason = notes[0] if notes else f"train one ({program('train')}) or give runs=FOLDER"
        raise SemisegError(f"{root.absolute()} holds no run yet: {reason}")
    wanted = [run for run in found.runs if options.filters().take(run)]
    if not wanted:
        raise SemisegError(f"None of the {len(found.runs)} runs fits {options.typed_filters()}.")
    sweeps = [path for path in found.sweeps if any(run.folder.is_relative_to(path.parent) for run in wanted)]
    return Found(wanted, sweeps if options.typed_filters() else found.sweeps), notes


def compare(found: Found, root: Path, baseline: str | None, notes: Sequence[str] = ()) -> Comparison:
    """Cohorts of the finished runs with their sections, and a section on the rest.

    Raises SemisegError where no finished run answers to `baseline`.
    """
    finished, repeats = without_repeats([run for run in found.runs if run.finished])
    parted = with_baseline(cohorts(finished), baseline)
    jobs, unread = open_jobs(found.sweeps, {run.folder for run in found.runs if run.finished})
    again = [
        f"{shown_folder(run, root)} is left out: a later run has the same recipe, seed and data." for run in repeats
    ]
    apart = ["No run has finished: there is nothing to compare yet."] if not finished else []
    if len(parted) > 1:
        apart = [f"Scores of {len(parted)} kinds of evaluation cannot be compared, so each has tables of its own."]
    lost = {job.folder for job in jobs if job.status != "running"}
    unfinished = [run for run in found.runs if not run.finished and run.folder not in lost]
    leftovers = section_of_leftovers(unfinished, jobs, finished, [*notes, *apart, *unread, *again], root)
    facts = {
        "Runs": f"{counts(finished, repeats, unfinished, jobs)}, below {root.absolute().as_posix()}",
        "Recipes": str(sum(len(cohort.groups) for cohort in parted)),
        "Baseline": ", ".join(dict.fromkeys(map(baseline_text, parted))),
        "Written": f"{date.today().isoformat()} by semiseg {__version__}",
    }
    sections = [sections_of(cohort) for cohort in parted]
    return Comparison(parted, sections, leftovers, found.runs, repeats, jobs, facts)


def counts(compared: Sequence[Run], repeats: Sequence[Run], unfinished: Sequence[Run], jobs: Sequence[Job]) -> str:
    """How many runs there are of each kind, in words; kinds of which there are none left out."""
    running = {job.folder for job in jobs if job.status == "running"}
    single = [run for run in unfinished if run.folder not in running]
    damaged = sum(bool(run.fault) for run in single)
    others = {
        "repeated": len(repeats),
        "unfinished": len(single) - damaged,
        "with a damaged summary": damaged,
    }
    others |= {f"{status} in sweeps": count for status, count in Counter(job.status for job in jobs).items()}
    return ", ".join([f"{len(compared)} compared", *(f"{count} {kind}" for kind, count in others.items() if count)])


def baseline_text(cohort: Cohort) -> str:
    """The baseline's name, and that other recipes would fit its word, too."""
    if cohort.baseline is None:
        return "none"
    return cohort.baseline.name + (f" (one of {len(cohort.rivals) + 1} that fit)" if cohort.rivals else "")


def with_baseline(parted: Sequence[Cohort], name: str | None) -> list[Cohort]:
    """Each cohort with what its groups are held against. Raises SemisegError where none has a group called `name`."""
    found = []
    for cohort in parted:
        first, *rivals = baselines(cohort.groups, name) or [None]
        found.append(replace(cohort, baseline=first, rivals=tuple(rivals)))
    if name is not None and found and not any(cohort.baseline for cohort in found):
        names = sorted({word for cohort in parted for group in cohort.groups for word in (group.model, group.name)})
        raise SemisegError(f"baseline={name} is none of the finished runs: give one of {', '.join(names)}")
    return found
