"""What differs between the configurations, cell by cell, and where each number comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from semiseg.report.collect import Run
from semiseg.report.group import Group
from semiseg.report.table import Cells

PROVENANCE = ("git_commit", "data_fingerprint", "versions", "hardware", "command")
ABSENT = "-"


def config_table(groups: Sequence[Group]) -> Cells:
    """A row a setting in which the groups differ, a column a group; "-" where a config does not have it."""
    cells = [_cells(group) for group in groups]
    rows = []
    for key in dict.fromkeys(key for each in cells for key in each):
        values = [each.get(key, ABSENT) for each in cells]
        if len(set(values)) > 1:
            rows.append([key, *values])
    return Cells("What differs between the configurations", ["setting", *(group.name for group in groups)], rows)


def _cells(group: Group) -> dict[str, str]:
    """Group choices and settings; the package is left out of the classes' names."""
    choices = {name: word for name, word in group.choices.items() if name != "model"}
    return choices | {key: text.removeprefix("semiseg.") for key, text in group.settings.items()}


def provenance_table(groups: Sequence[Group]) -> Cells:
    """A row a run: commit, data, versions, hardware and command line; the words common to all are not shortened,
    because this is what a run is repeated from."""
    header = ["run", "recipe", "seed", "started", "commit", "data", "versions", "hardware", "command", "folder"]
    rows = []
    for group in groups:
        for run in group.runs:
            facts = [_text(run.summary.get(key)) for key in PROVENANCE]
            rows.append([run.name, group.name, run.seed, run.started.isoformat(), *facts, run.folder.as_posix()])
    return Cells("Provenance", header, rows)


def provenance_notes(runs: Sequence[Run]) -> list[str]:
    """What may make runs differ beside their settings: other code, versions or hardware."""
    notes = []
    for key, what in (("git_commit", "commits"), ("versions", "versions"), ("hardware", "machines")):
        found = dict.fromkeys(_text(run.summary.get(key)) for run in runs if run.summary.get(key))
        if len(found) > 1:
            notes.append(f"The runs come from {len(found)} {what}: {'; '.join(found)}.")
    if changed := [run.name for run in runs if str(run.summary.get("git_commit", "")).endswith("+changes")]:
        notes.append(f"Run from a checkout with changes that no commit holds: {', '.join(changed)}.")
    return notes


def _text(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {version}" for name, version in value.items())
    return "" if value is None else str(value)
