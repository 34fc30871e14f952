"""The guides' success criteria and signs, judged on each run, as tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from semiseg.doctor import Criterion, Finding, Verdict, examine, judge
from semiseg.report.collect import Run
from semiseg.report.group import Group
from semiseg.report.leftovers import by_recipe
from semiseg.report.table import Cells

CRITERIA_INTRO = (
    "The V3 guide's criteria by iteration 20,000. Minimum: val mIoU above 0.60, ST pixels above 10,000, train/val gap "
    "below 0.12. Good: 0.70, 30,000, 0.08, no early stop. Excellent: 0.75, 40,000, 0.05. A supervised run has no ST "
    "criterion. A remedy holds overrides to add to the command of the run."
)
SHOWN = 4  # findings of one rule and recipe that are spelt out
NEXT = {"below minimum": "minimum", "minimum": "good", "good": "excellent"}


@dataclass(frozen=True)
class Judged:
    """A run with what the doctor says of it."""

    recipe: str
    run: Run

    @cached_property
    def verdict(self) -> Verdict:
        return judge(self.run.summary, self.run.history, self.run.settings)

    @cached_property
    def findings(self) -> list[Finding]:
        return examine(self.run.history, self.run.summary, self.run.settings)


def judged(groups: Sequence[Group]) -> list[Judged]:
    """Every run of the groups."""
    return [Judged(group.name, run) for group in groups for run in group.runs]


def criteria_table(runs: Sequence[Judged]) -> Cells:
    """A row a run: the level it reached, and what the next one lacks with its remedy."""
    header = ["recipe", "seed", "level", "val mIoU", "ST pixels", "train/val gap", "lacking", "remedy"]
    return Cells("Success criteria", header, [_criteria_row(each) for each in runs])


def criteria_notes(runs: Sequence[Judged]) -> list[str]:
    """What to know beside the verdicts, such as runs shorter than the guide's."""
    noted: dict[str, list[tuple[str, Run]]] = {}
    for each in runs:
        if each.verdict.note:
            noted.setdefault(each.verdict.note, []).append((each.recipe, each.run))
    return [f"{'All runs' if len(of) == len(runs) else by_recipe(of)}: {note}." for note, of in noted.items()]


def _criteria_row(each: Judged) -> list[str]:
    verdict = each.verdict
    shown = {row.name: row.shown for row in verdict.criteria}
    lacking = [row for row in verdict.criteria if row.level == NEXT.get(verdict.level) and row.missed]
    missing = "; ".join(_lacking(row) for row in lacking)
    remedies = "; ".join(dict.fromkeys(row.remedy for row in lacking if row.remedy))
    values = [shown.get(name, "") for name in ("val mIoU", "ST pixels", "train/val gap")]
    return [each.recipe, each.run.seed, verdict.level, *values, missing, remedies]


def _lacking(row: Criterion) -> str:
    return f"{row.level}: {row.name} {row.target}, was {row.shown}"


def findings_table(runs: Sequence[Judged], sign: str) -> Cells:
    """A row a rule and recipe, with the seeds in which it showed, each with its numbers."""
    found: dict[tuple[str, str], list[tuple[Run, Finding]]] = {}
    for each in runs:
        for finding in each.findings:
            if finding.sign == sign:
                found.setdefault((each.recipe, finding.rule), []).append((each.run, finding))
    rows = []
    for (recipe, rule), showed in found.items():
        seeds = ", ".join(dict.fromkeys(run.seed for run, _ in showed))
        step = min((each.step for _, each in showed if each.step is not None), default=None)
        remedies = "; ".join(dict.fromkeys(each.remedy for _, each in showed[:SHOWN] if each.remedy))
        rows.append([recipe, rule, seeds, evidence(showed), "" if step is None else f"{step:,}", remedies])
    header = ["recipe", "sign", "seeds", "evidence", "first iteration", "remedy"]
    return Cells("Bad signs" if sign == "bad" else "Good signs", header, rows).without_empty()


def evidence(showed: Sequence[tuple[Run, Finding]]) -> str:
    """What was seen in which seeds, the same words once."""
    seeds: dict[str, list[str]] = {}
    for run, finding in showed:
        seeds.setdefault(finding.evidence, []).append(run.seed)
    told = [f"seed{'s' * (len(of) > 1)} {', '.join(of)}: {text}" for text, of in seeds.items()]
    return "; ".join([*told[:SHOWN], *([f"and {len(told) - SHOWN} more"] if len(told) > SHOWN else [])])
