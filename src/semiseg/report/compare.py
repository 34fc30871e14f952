"""`semiseg compare`: every run below a folder side by side, in the terminal, report.md and results.csv."""

from __future__ import annotations

import csv
import io
import sys
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console as Terminal
from rich.text import Text

from semiseg.console import tolerant
from semiseg.errors import SemisegError
from semiseg.report.collect import Group, Run, collect_runs, group_runs
from semiseg.report.table import NUMBERS, Cells, comparison_tables
from semiseg.tracking.local import write_text

WIDTH = 160  # of the tables where the output is a pipe or a file


@dataclass(frozen=True)
class Comparison:
    """The tables of all runs, several for each set of data, and the runs that are in none."""

    tables: list[Cells]
    notes: list[str]
    runs: list[Run]

    def markdown(self) -> str:
        notes = "".join(f"- {note}\n" for note in self.notes)
        return "# Comparison of runs\n\n" + "\n".join(table.markdown() for table in self.tables) + "\n" + notes


def compare_runs(root: Path, baseline: str | None = None) -> Comparison:
    """Tables of the finished runs below `root`.

    Runs on other data (another `data_fingerprint`: other patches, split or classes) get tables of their own, since
    their scores cannot be compared. `baseline` is a model, or the name or folder of a run. Raises SemisegError where
    there is no run, or no run answers to `baseline`.
    """
    runs = collect_runs(root)
    finished = [run for run in runs if run.finished]
    data = list(dict.fromkeys(run.fingerprint for run in finished))
    grouped = {d: group_runs([run for run in finished if run.fingerprint == d]) for d in data}
    bases = {d: find_baseline(groups, baseline) for d, groups in grouped.items()}
    if baseline is not None and not any(bases.values()):
        names = sorted({group.choices["model"] for groups in grouped.values() for group in groups})
        raise SemisegError(
            f"baseline={baseline} is none of the finished runs: give one of {', '.join(names) or '(none)'}"
        )
    tables = []
    for number, (d, groups) in enumerate(grouped.items(), start=1):
        where = f" on data {number} ({d})" if len(data) > 1 else ""
        tables += comparison_tables(groups, bases[d], where)
    return Comparison(tables, notes_on(runs, root, len(data)), runs)


def find_baseline(groups: list[Group], name: str | None) -> Group | None:
    """The best group that answers to `name`."""
    return next((group for group in groups if name is not None and group.answers_to(name)), None)


def notes_on(runs: list[Run], root: Path, data_sets: int) -> list[str]:
    """What the tables do not show: other data, and runs that did not finish."""
    notes = []
    if data_sets > 1:
        notes.append(
            f"The runs used {data_sets} different sets of data (patches, split or classes differ): "
            "scores of different tables cannot be compared."
        )
    for run in runs:
        if not run.finished:
            steps = f" after {run.summary['steps']} steps" if "steps" in run.summary else ""
            notes.append(f"Not in the tables: {run.folder.relative_to(root).as_posix()} ({run.status}{steps})")
    return notes


def results_csv(runs: list[Run]) -> str:
    """One line a run, unfinished ones too, for a spreadsheet or a notebook."""
    head = ["folder", "status", "name", "experiment", "model", "seed", "data_fingerprint", "steps", "best_step"]
    scores = [key for _, key, _ in NUMBERS]
    choices = list(dict.fromkeys(name for run in runs for name in run.choices if name != "model"))
    classes = list(dict.fromkeys(name for run in runs for name in run.class_iou))
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow([*head, *choices, *scores, *(f"iou/{name}" for name in classes)])
    for run in runs:
        facts = {**run.choices, **run.summary, "folder": run.folder.as_posix(), "status": run.status}
        writer.writerow(
            [*(facts.get(key) for key in (*head, *choices, *scores)), *(run.class_iou.get(name) for name in classes)]
        )
    return out.getvalue()


def main(cfg: DictConfig) -> None:
    """Print the comparison of `cfg.runs` and write report.md and results.csv to `cfg.out`."""
    comparison = compare_runs(Path(cfg.runs).expanduser(), cfg.baseline)
    stream = tolerant(sys.stdout)
    terminal = Terminal(file=stream, width=None if stream.isatty() else WIDTH)
    for table in comparison.tables:
        terminal.print(table.rich())
    for note in comparison.notes:
        terminal.print(Text(note), soft_wrap=True)
    out = Path(cfg.out).expanduser()
    write_text(out / "report.md", comparison.markdown())
    write_text(out / "results.csv", results_csv(comparison.runs))
    terminal.print(Text(f"Written: {out / 'report.md'}, {out / 'results.csv'}"), soft_wrap=True)
