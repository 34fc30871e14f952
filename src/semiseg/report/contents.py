"""What the report says: the chapters of each cohort, and what is in none of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from semiseg.report.collect import Run
from semiseg.report.differences import config_tables, provenance_notes, provenance_table
from semiseg.report.efficiency import efficiency_notes, efficiency_table
from semiseg.report.group import Cohort
from semiseg.report.judged import CRITERIA_INTRO, criteria_notes, criteria_table, findings_table, judged
from semiseg.report.leftovers import Job, gaps, job_table, unfinished_table, waiting_notes
from semiseg.report.notes import alone_note, baseline_note, length_notes
from semiseg.report.scores import (
    PSEUDO_LABELS,
    SCORES_INTRO,
    SYSTEMS,
    UNIT_OF_ST,
    class_table,
    guide_table,
    how_resampled,
    ladder_notes,
    ladder_table,
    leading,
    number_table,
    partial_notes,
    score_table,
)
from semiseg.report.table import Cells

MEANS = "Mean ± standard deviation over seeds."


@dataclass
class Section:
    """A part of the report. Sections `on_paper` are in the files and not in the terminal."""

    title: str
    intro: str = ""
    tables: list[Cells] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    on_paper: bool = False


def sections_of(cohort: Cohort) -> list[Section]:
    """The chapters of one cohort, without those that have nothing to show."""
    where = f"{cohort.title}: " if cohort.title else ""
    groups = cohort.groups
    runs = judged(groups)
    shown = leading(cohort, SYSTEMS)
    more = f"The baseline and the best {len(shown) - 1} of {len(groups)} recipes." if len(groups) > len(shown) else ""
    labels = number_table("Pseudo labels", groups, PSEUDO_LABELS)
    scores, signs = [score_table(cohort), ladder_table(groups)], [criteria_table(runs), findings_table(runs, "bad")]
    sections = [
        Section(f"{where}Side by side", f"{cohort.reason} {more}".strip(), [guide_table(cohort)], [UNIT_OF_ST]),
        Section(f"{where}Scores", SCORES_INTRO, scores, score_notes(cohort)),
        Section(f"{where}Classes", f"{MEANS} At the best evaluation.", [class_table(groups)]),
        Section(f"{where}Pseudo labels", MEANS, [labels], on_paper=not more),  # the first table has all
        Section(f"{where}Efficiency", MEANS, [efficiency_table(cohort)], efficiency_notes(groups)),
        Section(f"{where}Criteria and bad signs", CRITERIA_INTRO, signs, criteria_notes(runs)),
        Section(f"{where}Good signs", "", [findings_table(runs, "good")], on_paper=True),
        Section(f"{where}Configurations", more, config_tables(shown)),
        Section(f"{where}Provenance", "", [provenance_table(groups)], provenance_notes(groups), on_paper=True),
    ]
    for section in sections:
        section.tables = [table for table in section.tables if table.rows and len(table.header) > 1]
    return [section for section in sections if section.tables]


def section_of_leftovers(
    unfinished: Sequence[Run], jobs: Sequence[Job], compared: Sequence[Run], notes: Sequence[str], root: Path
) -> Section:
    """Jobs without a result, runs that did not finish, and the reasons for gaps in the tables and figures."""
    waiting = [job for job in jobs if job.status == "waiting"]
    running = {job.folder for job in jobs if job.status == "running"}
    ended = [job for job in jobs if job.status not in ("waiting", "running")]
    tables = [job_table(ended), unfinished_table(unfinished, root, running)]
    told = [*notes, *waiting_notes(waiting), *gaps(compared, root)]
    return Section("Not in the comparison", "", [table for table in tables if table.rows], told)


def score_notes(cohort: Cohort) -> list[str]:
    """What to know before the scores are believed, how they were resampled last."""
    first = [alone_note(cohort), baseline_note(cohort), *partial_notes(cohort), *length_notes(cohort)]
    return [text for text in (*first, *ladder_notes(cohort.groups), how_resampled(cohort)) if text]
