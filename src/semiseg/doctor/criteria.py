"""The V3 guide's success criteria, judged on one run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from semiseg.doctor import remedies
from semiseg.doctor.case import Case, Point
from semiseg.report.history import Series

HORIZON = 20_000  # iterations by which the guide wants them met
Level = Literal["excellent", "good", "minimum", "below minimum", "not judged"]
STAGES: tuple[Level, ...] = ("minimum", "good", "excellent")
# (validation mIoU above, ST pixels above, train/val gap below). "Matches DiverseNet performance", 0.70 and more, is
# part of "excellent" too, and follows from its mIoU.
TARGETS: dict[Level, tuple[float, float, float]] = {
    "minimum": (0.60, 10_000, 0.12),
    "good": (0.70, 30_000, 0.08),
    "excellent": (0.75, 40_000, 0.05),
}


@dataclass(frozen=True)
class Criterion:
    """One line of the guide's list. `value` is None where the run never had the quantity (then it is not met)."""

    level: Level
    name: str
    target: str
    value: float | None
    shown: str
    met: bool
    remedy: str = ""


@dataclass(frozen=True)
class Verdict:
    """The highest level of which every criterion, and every one of the levels below, is met.

    `note` says what to know beside it, such as a run that was shorter than the guide's 20,000 iterations.
    """

    level: Level
    criteria: tuple[Criterion, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class Scores:
    """What is held against the targets: the best evaluation up to `HORIZON`, and the ST pixels of the last one."""

    miou: float
    gap: float | None
    pixels: float | None
    step: int | None


def judge(
    summary: Mapping[str, object], history: Mapping[str, Series], settings: Mapping[str, object] | None = None
) -> Verdict:
    """Hold a run against the guide's criteria "by 20,000 iterations", as far as it went.

    A supervised run has no ST criterion. `settings` are dotted config keys, from which remedies start.
    """
    case = Case(history, summary, settings or {})
    scores = _scores(case)
    if scores is None:
        return Verdict("not judged", note="the run has no evaluation")
    rows = tuple(row for level in STAGES for row in _criteria(case, scores, level))
    missed = next((n for n, level in enumerate(STAGES) if not all(r.met for r in rows if r.level == level)), 3)
    return Verdict("below minimum" if missed == 0 else STAGES[missed - 1], rows, _note(case, scores))


def _scores(case: Case) -> Scores | None:
    """From the history, or where a run has none, from its summary."""
    if evaluated := _by_horizon(case.points("val/miou")):
        step, miou = max(evaluated, key=lambda point: point[1])
        pixels = _by_horizon(case.points("st/pixels"))
        return Scores(miou, dict(case.points("gap")).get(step), pixels[-1][1] if pixels else None, evaluated[-1][0])
    number = {key: _number(case.summary.get(key)) for key in ("best_val_miou", "gap", "st_pixels", "steps")}
    miou, steps = number["best_val_miou"], number["steps"]
    if miou is None:
        return None
    return Scores(miou, number["gap"], number["st_pixels"], None if steps is None else int(steps))


def _by_horizon(points: list[Point]) -> list[Point]:
    """The points up to the horizon; the first one where all lie beyond."""
    return [point for point in points if point[0] <= HORIZON] or points[:1]


def _criteria(case: Case, scores: Scores, level: Level) -> list[Criterion]:
    miou, pixels, gap = TARGETS[level]
    rows = [_above(case, level, "val mIoU", scores.miou, miou, ".4f", remedies.learn_better)]
    if case.labeler != "none":
        rows.append(_above(case, level, "ST pixels", scores.pixels, pixels, ",.0f", remedies.more_pseudo_labels))
    met = scores.gap is not None and scores.gap < gap
    remedy = "" if met else remedies.generalise(case)
    rows.append(Criterion(level, "train/val gap", f"< {gap:.2f}", scores.gap, _shown(scores.gap, ".4f"), met, remedy))
    if level == "good":
        stopped = case.summary.get("status") == "stopped early"
        remedy = remedies.more_patience(case) if stopped else ""
        rows.append(Criterion(level, "early stopping", "no", None, "yes" if stopped else "no", not stopped, remedy))
    return rows


def _above(
    case: Case, level: Level, name: str, value: float | None, target: float, form: str, remedy: Callable[[Case], str]
) -> Criterion:
    met = value is not None and value > target
    wanted = f"> {target:,.0f}" if target > 1 else f"> {target:.2f}"
    return Criterion(level, name, wanted, value, _shown(value, form), met, "" if met else remedy(case))


def _shown(value: float | None, form: str) -> str:
    return "none" if value is None else f"{value:{form}}"


def _note(case: Case, scores: Scores) -> str:
    evaluated = [step for step, _ in case.points("val/miou")]
    if not evaluated:
        length = "a run of unknown length" if scores.step is None else f"the whole run of {scores.step:,} iterations"
        return f"judged by the summary of {length}; the guide gives a run {HORIZON:,}"
    if evaluated[-1] < HORIZON or evaluated[0] > HORIZON:
        return f"judged at iteration {scores.step:,}; the guide gives a run {HORIZON:,}"
    return ""


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
