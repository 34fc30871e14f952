"""`semiseg compare`: runs side by side in the terminal, in report.html, report.md and results.csv, and in MLflow."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console as Terminal
from rich.text import Text

from semiseg import __version__
from semiseg.console import tolerant
from semiseg.errors import ConfigError, SemisegError
from semiseg.report.collect import Found, Run, find_runs
from semiseg.report.comparable import cohorts, without_repeats
from semiseg.report.contents import Section, section_of_leftovers, sections_of
from semiseg.report.group import Cohort, find_baseline
from semiseg.report.leftovers import failed_jobs, shown_folder
from semiseg.report.options import CompareConfig, options_of
from semiseg.report.store import experiment_of, log_report, store_uri_of, tracker_of
from semiseg.report.tracked import tracked_runs
from semiseg.report.write import draw, write_report

WIDTH = 160  # of the tables where the output is a pipe or a file
LONGEST = 40  # rows of a table in the terminal


@dataclass(frozen=True)
class Comparison:
    """What is compared with what, and what is not."""

    cohorts: list[Cohort]
    sections: list[list[Section]]  # of each cohort
    leftovers: Section
    runs: list[Run]  # all, the unfinished ones too
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
    show(terminal, comparison)
    drawn = [draw(cohort, out / "figures" / cohort.title.replace(" ", "-")) for cohort in comparison.cohorts]
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
        reason = notes[0] if notes else "train one (python train.py) or give runs=FOLDER"
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
    jobs, unread = failed_jobs(found.sweeps)
    again = [
        f"{shown_folder(run, root)} is left out: a later run has the same recipe, seed and data." for run in repeats
    ]
    apart = ["No run has finished: there is nothing to compare yet."] if not finished else []
    if len(parted) > 1:
        apart = [f"Scores of {len(parted)} kinds of evaluation cannot be compared, so each has tables of its own."]
    unfinished = [run for run in found.runs if not run.finished]
    leftovers = section_of_leftovers(unfinished, jobs, finished, [*notes, *apart, *unread, *again], root)
    facts = {
        "Runs": f"{len(finished)} compared, {len(unfinished)} unfinished, below {root.absolute().as_posix()}",
        "Recipes": str(sum(len(cohort.groups) for cohort in parted)),
        "Baseline": ", ".join(dict.fromkeys(c.baseline.name for c in parted if c.baseline)) or "none",
        "Written": f"{date.today().isoformat()} by semiseg {__version__}",
    }
    return Comparison(parted, [sections_of(cohort) for cohort in parted], leftovers, found.runs, facts)


def with_baseline(parted: Sequence[Cohort], name: str | None) -> list[Cohort]:
    """Each cohort with what its groups are held against. Raises SemisegError where none has a group called `name`."""
    found = [replace(cohort, baseline=find_baseline(cohort.groups, name)) for cohort in parted]
    if name is not None and found and not any(cohort.baseline for cohort in found):
        names = sorted({word for cohort in parted for group in cohort.groups for word in (group.model, group.name)})
        raise SemisegError(f"baseline={name} is none of the finished runs: give one of {', '.join(names)}")
    return found


def make_terminal() -> Terminal:
    """Standard output, wide enough for the tables where it is no terminal."""
    stream = tolerant(sys.stdout)
    return Terminal(file=stream, width=None if stream.isatty() else WIDTH)


def show(terminal: Terminal, comparison: Comparison) -> None:
    """The tables and notes in the terminal."""
    for section in [*(each for several in comparison.sections for each in several), comparison.leftovers]:
        if section.on_paper or not (section.tables or section.notes):
            continue
        terminal.rule(Text(section.title, style="bold"), align="left", style="dim")
        if section.intro:
            terminal.print(Text(section.intro, style="dim"))
        for table in section.tables:
            for part in table.first(LONGEST).parts(terminal.width):
                terminal.print()
                terminal.print(part.rich())
        for note in section.notes:
            terminal.print(Text(f"- {note}"))
        terminal.print()
