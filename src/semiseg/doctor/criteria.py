"""The V3 guide's success criteria, judged on one run."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
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
    """One line of the guide's list. `value` is None where the run never had the quantity (then it is not met).

    `obstacle` says why nothing could have met it; it then does not count against the run and has no remedy.
    """

    level: Level
    name: str
    target: str
    value: float | None
    shown: str
    met: bool
    remedy: str = ""
    obstacle: str = ""

    @property
    def missed(self) -> bool:
        """Whether the run could have met it and did not."""
        return not (self.met or self.obstacle)


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
    batch_pixels: float | None = None  # of the unlabelled batch, kept or not; None where nothing tells


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
    missed = next((n for n, level in enumerate(STAGES) if any(r.missed for r in rows if r.level == level)), 3)
    obstacles = [row.obstacle for row in rows if row.obstacle][:1]  # the lowest limit's, which tells of the higher ones
    note = "; ".join(text for text in (_note(case, scores), *obstacles) if text)
    return Verdict("below minimum" if missed == 0 else STAGES[missed - 1], rows, note)


def _scores(case: Case) -> Scores | None:
    """From the history, or where a run has none, from its summary."""
    if evaluated := _by_horizon(case.points("val/miou")):
        step, miou = max(evaluated, key=lambda point: point[1])
        pixels = _by_horizon(case.points("st/pixels"))
        last = pixels[-1][1] if pixels else None
        return Scores(miou, dict(case.points("gap")).get(step), last, evaluated[-1][0], _batch_pixels(case))
    number = {key: _number(case.summary.get(key)) for key in ("best_val_miou", "gap", "st_pixels", "steps")}
    miou, steps = number["best_val_miou"], number["steps"]
    if miou is None:
        return None
    step = None if steps is None else int(steps)
    return Scores(miou, number["gap"], number["st_pixels"], step, _batch_pixels(case))


def _batch_pixels(case: Case) -> float | None:
    """Pixels of the largest unlabelled batch: those that were kept, by the share that they are; where nothing ever
    was, by the settings."""
    coverage = dict(case.points("st/coverage"))
    pairs = [(pixels, coverage.get(step)) for step, pixels in case.points("st/pixels")]
    summed_up = (_number(case.summary.get("st_pixels")), _number(case.summary.get("st_coverage")))
    return max((pixels / share for pixels, share in [*pairs, summed_up] if pixels and share), default=_as_set(case))


def _as_set(case: Case) -> float | None:
    """Pixels of the unlabelled images of a step by the settings; None where these are not known."""
    keys = ("trainer.unlabeled_batch_size", "trainer.accumulate", "trainer.crop_size", "trainer.crop_size")
    try:
        return math.prod(float(str(case.settings[key])) for key in keys)
    except (KeyError, ValueError):
        return None


def _by_horizon(points: list[Point]) -> list[Point]:
    """The points up to the horizon; the first one where all lie beyond."""
    return [point for point in points if point[0] <= HORIZON] or points[:1]


def _criteria(case: Case, scores: Scores, level: Level) -> list[Criterion]:
    miou, pixels, gap = TARGETS[level]
    rows = [_above(case, level, "val mIoU", scores.miou, miou, ".4f", remedies.learn_better)]
    if case.labeler != "none":
        row = _above(case, level, "ST pixels", scores.pixels, pixels, ",.0f", remedies.more_pseudo_labels)
        rows.append(_within_reach(row, pixels, scores.batch_pixels))
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


def _within_reach(row: Criterion, target: float, batch_pixels: float | None) -> Criterion:
    """The criterion on ST pixels, or that the whole batch has too few of them, which no threshold changes."""
    if row.met or batch_pixels is None or batch_pixels > target:
        return row
    why = f"the whole unlabelled batch has {batch_pixels:,.0f} pixels"
    text = f"{row.name} {row.target} or higher cannot be met at this crop and batch ({why}) and does not count"
    return replace(row, remedy="", obstacle=text)


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
