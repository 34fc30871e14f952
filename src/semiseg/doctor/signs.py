"""The guides' good signs, as they are at the last evaluation."""

from __future__ import annotations

from collections.abc import Iterator

from semiseg.doctor.case import Case
from semiseg.doctor.finding import Finding


def good_signs(case: Case) -> Iterator[Finding]:
    """The good signs that a run shows now."""
    for rule, evidence in _signs(case):
        yield Finding(rule, "good", evidence, step=max(step for step, _ in case.points("val/miou")))


def _signs(case: Case) -> Iterator[tuple[str, str]]:
    """(rule, evidence) of each; a sign seen in a tail without an evaluation is none."""
    if not case.points("val/miou"):
        return
    yield from _self_training(case)
    yield from _falling(case, "loss/ce", "ce-falls", "CE")
    yield from _falling(case, "loss/dice", "dice-falls", "Dice")
    yield from _generalising(case)


def _self_training(case: Case) -> Iterator[tuple[str, str]]:
    """V3 guide: ST_px above 10,000 and a stable ST loss of 0.3 to 0.5. S4GAN guide: ST_Count above 0 throughout."""
    pixels, losses = case.points("st/pixels"), case.points("loss/st")[-3:]
    if pixels and pixels[-1][1] > 10_000:
        yield "st-pixels-high", f"{pixels[-1][1]:,.0f} pixels kept in a batch, above 10,000"
    images = [value for _, value in case.points("st/images")]
    if len(images) >= 3 and min(images) > 0:
        yield "st-steady", f"pseudo labels in all {len(images)} intervals between evaluations"
    if len(losses) == 3 and all(0.3 <= value <= 0.5 for _, value in losses):
        yield "st-loss-stable", f"ST loss {losses[-1][1]:.2f}, from 0.3 to 0.5 over the last 3 evaluations"


def _falling(case: Case, name: str, rule: str, label: str) -> Iterator[tuple[str, str]]:
    """A tenth below where it began, and no more than a tenth above its lowest."""
    values = [value for _, value in case.points(name)]
    if len(values) >= 3 and values[-1] < 0.9 * values[0] and values[-1] < 1.1 * min(values):
        yield rule, f"{label} fell from {values[0]:.2f} to {values[-1]:.2f}"


def _generalising(case: Case) -> Iterator[tuple[str, str]]:
    """V3 guide: gap below 0.08, which says something only of a network that has learned (S4GAN guide: above 0.3)."""
    val, train, gap = (case.points(name) for name in ("val/miou", "train/miou", "gap"))
    if gap and train and train[-1][1] >= 0.3 and gap[-1][1] < 0.08:
        yield "gap-small", f"train/val gap {gap[-1][1]:.3f}, below 0.08, at a training mIoU of {train[-1][1]:.2f}"
    if len(val) > 1 and val[-1][1] > max(value for _, value in val[:-1]):
        yield "val-miou-rises", f"validation mIoU {val[-1][1]:.4f} at the last evaluation is the best so far"
