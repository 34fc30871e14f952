"""What differs between the configurations, cell by cell, and where each number comes from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from semiseg.report.collect import Run
from semiseg.report.group import Group
from semiseg.report.leftovers import by_recipe
from semiseg.report.names import head
from semiseg.report.table import Cells

PROVENANCE = ("git_commit", "data_fingerprint", "versions", "hardware", "command")
ABSENT = "-"
UNKNOWN = "unknown"  # in the column of a recipe whose runs left no config


def config_tables(groups: Sequence[Group]) -> list[Cells]:
    """What differs, a row a choice or setting and a column a group; and, folded away, the settings that follow from
    a choice, since those of another choice mostly have no counterpart. "-" where a config does not have it, and
    "unknown" where there is no config."""
    cells = [_cells(group) for group in groups]
    chosen_apart = {name for name in _choice_names(groups) if len({g.choices.get(name) for g in groups}) > 1}
    rows: list[list[str]] = []
    folded: list[list[str]] = []
    for key in dict.fromkeys(key for each in cells for key in each):
        values = [
            each.get(key, ABSENT if group.settings else UNKNOWN) for group, each in zip(groups, cells, strict=True)
        ]
        if len({value for value in values if value != UNKNOWN}) > 1:
            follows = "." in key and head(key) in chosen_apart and (ABSENT in values or key.endswith("_target_"))
            (folded if follows else rows).append([key, *values])
    header = ["setting", *(group.name for group in groups)]
    return [
        Cells("What differs between the configurations", header, rows),
        Cells("Settings that follow from these choices", header, folded, folded=True),
    ]


def _choice_names(groups: Sequence[Group]) -> dict[str, None]:
    return dict.fromkeys(name for group in groups for name in group.choices)


def _cells(group: Group) -> dict[str, str]:
    """Group choices and settings; the package is left out of the classes' names."""
    return dict(group.choices) | {key: text.removeprefix("semiseg.") for key, text in group.settings.items()}


def provenance_table(groups: Sequence[Group]) -> Cells:
    """A row a run: commit, data, versions, hardware and command line; the words common to all are not shortened,
    because this is what a run is repeated from."""
    header = ["run", "recipe", "seed", "started", "commit", "data", "versions", "hardware", "command", "folder"]
    rows = []
    for group in groups:
        for run in group.runs:
            facts = [_text(run.summary.get(key)) for key in PROVENANCE]
            rows.append([run.label, group.name, run.seed, run.started.isoformat(), *facts, run.folder.as_posix()])
    return Cells("Provenance", header, rows)


def provenance_notes(groups: Sequence[Group]) -> list[str]:
    """What may make runs differ beside their settings: other code, versions or hardware."""
    runs = [run for group in groups for run in group.runs]
    notes = []
    for key, what in (("git_commit", "commits"), ("versions", "versions"), ("hardware", "machines")):
        found = dict.fromkeys(_text(run.summary.get(key)) for run in runs if run.summary.get(key))
        if len(found) > 1:
            notes.append(f"The runs come from {len(found)} {what}: {'; '.join(found)}.")
    if changed := [(group.name, run) for group in groups for run in group.runs if _uncommitted(run)]:
        notes.append(f"Run from a checkout with changes that no commit holds: {by_recipe(changed)}.")
    return notes


def _uncommitted(run: Run) -> bool:
    return str(run.summary.get("git_commit", "")).endswith("+changes")


def _text(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {version}" for name, version in value.items())
    return "" if value is None else str(value)
