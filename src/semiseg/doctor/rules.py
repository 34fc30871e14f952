"""The guides' bad signs. Limits are theirs, absolute, and meant for runs of 50,000 iterations.

A rule looks at the evaluations in their order and speaks at the first at which its sign shows, from that one and
earlier ones alone: what it said of a run does not change as the run goes on, nor when it is resumed. ST pixels count
pixels of a mean unlabelled batch, for V1 and V2 as for V3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np

from semiseg.doctor import remedies
from semiseg.doctor.case import CLASS_IOU, LOSS, Case, Point
from semiseg.doctor.finding import Finding

PATIENCE = 5  # evaluations that a score may go without a new best before it counts as a sign
SUPERVISED = ("loss/ce", "loss/focal", "loss/dice")

Rule = Callable[[Case], Iterator[Finding]]


def loss_not_finite(case: Case) -> Iterator[Finding]:
    """A loss that is NaN or infinite, at any step."""
    losses = {name: each for name, each in case.history.items() if name.startswith(LOSS)}
    bad = {name: each.steps[~np.isfinite(each.values)] for name, each in losses.items()}
    if any(len(steps) for steps in bad.values()):
        first = min(int(steps[0]) for steps in bad.values() if len(steps))
        names = sorted(name for name, steps in bad.items() if first in steps)
        yield _bad("loss-not-finite", first, f"{', '.join(names)} not finite", remedies.slower_and_clipped(case))


def few_st_pixels(case: Case) -> Iterator[Finding]:
    """V3 guide: ST_px below 1,000 by iteration 2,000. S4GAN guide: ST_Count always 0 means too high a threshold."""
    points = case.points("st/pixels")
    for (_, before), (step, pixels) in pairwise([(0, math.nan), *points]):
        if step >= 2000 and pixels < 1000:
            evidence = f"{pixels:,.0f} pixels kept in a batch, below 1,000 (from iteration 2,000 on)"
        elif before == 0 and pixels == 0:
            evidence = "no pixel kept since the evaluation before the last"
        else:
            continue
        yield _bad("st-pixels-low", step, evidence, remedies.more_pseudo_labels(case))
        return


def confident_and_wrong(case: Case) -> Iterator[Finding]:
    """Nearly every pixel is kept while fewer of them are right: the network teaches itself its mistakes."""
    coverage = dict(case.points("st/coverage"))
    best = last = 0.0
    for step, precision in case.points("st/precision"):
        if coverage.get(step, 0) > 0.95 and precision < last and precision < best - 0.01:
            evidence = (
                f"{coverage[step]:.1%} of the unlabelled pixels kept, above 95 %, while the share of them that is "
                f"right fell from {best:.1%} to {precision:.1%}"
            )
            yield _bad("st-confident-and-wrong", step, evidence, remedies.surer_pseudo_labels(case))
            return
        best, last = max(best, precision), precision


def ce_high(case: Case) -> Iterator[Finding]:
    """V3 guide: CE above 1.0 after 10,000 iterations, not learning."""
    for step, value in case.points("loss/ce"):
        if step > 10_000 and value > 1.0:
            evidence = f"CE {value:.2f}, above 1.0 (after iteration 10,000)"
            yield _bad("ce-high", step, evidence, remedies.larger_batch(case))
            return


def dice_high(case: Case) -> Iterator[Finding]:
    """V3 guide: Dice above 0.5 after 10,000 iterations, poor segmentation."""
    for step, value in case.points("loss/dice"):
        if step > 10_000 and value > 0.5:
            evidence = f"Dice {value:.2f}, above 0.5 (after iteration 10,000)"
            yield _bad("dice-high", step, evidence, remedies.DICE_FIRST)
            return


def loss_oscillates(case: Case) -> Iterator[Finding]:
    """S4GAN guide: losses oscillating wildly, too high a learning rate.

    Wildly: to and fro by a quarter of the loss on average, over five evaluations.
    """
    name = next((each for each in SUPERVISED if case.points(each)), SUPERVISED[0])
    points = case.points(name)
    for end in range(PATIENCE, len(points)):
        values = np.array([value for _, value in points[end - PATIENCE : end + 1]])
        change = np.diff(values)
        to_and_fro = int((change[1:] * change[:-1] < 0).sum())
        if to_and_fro >= PATIENCE - 2 and np.abs(change).mean() > 0.25 * values.mean():
            evidence = f"{name} went {', '.join(f'{v:.2f}' for v in values)} over the last {len(values)} evaluations"
            yield _bad("loss-oscillates", points[end][0], evidence, remedies.slower(case))
            return


def gap_wide(case: Case) -> Iterator[Finding]:
    """V3 guide: train/val gap above 0.15, overfitting to the labelled data."""
    for step, value in case.points("gap"):
        if value > 0.15:
            evidence = f"training mIoU {value:.2f} above validation mIoU, more than 0.15"
            yield _bad("gap-wide", step, evidence, remedies.generalise(case))
            return


def overfitting(case: Case) -> Iterator[Finding]:
    """S4GAN guide: validation mIoU on a plateau while training mIoU rises."""
    train = dict(case.points("train/miou"))
    for best, (step, _), _ in _without_new_best(case):
        risen = train.get(step, math.nan) - train.get(best[0], math.nan)
        if risen > 0.02:
            evidence = (
                f"validation mIoU without a new best since {best[1]:.4f} at iteration {best[0]:,}, while training mIoU "
                f"rose by {risen:.2f}"
            )
            yield _bad("overfitting", step, evidence, remedies.slower(case))
            return


def underfitting(case: Case) -> Iterator[Finding]:
    """S4GAN guide: both mIoUs stay below 0.3. From iteration 5,000 on, where the guide expects 0.35 to 0.45."""
    train = dict(case.points("train/miou"))
    for step, val in case.points("val/miou"):
        if step >= 5000 and val < 0.3 and train.get(step, math.nan) < 0.3:
            evidence = f"training mIoU {train[step]:.2f} and validation mIoU {val:.2f}, both below 0.3"
            yield _bad("underfitting", step, evidence, remedies.learn_more(case))
            return


def val_miou_falls(case: Case) -> Iterator[Finding]:
    """Validation mIoU 0.02 and more below its best, for five evaluations without a new one (V1: 0.4977 to 0.3922)."""
    for best, (step, value), evaluations in _without_new_best(case):
        if value < best[1] - 0.02:
            evidence = (
                f"validation mIoU fell from {best[1]:.4f} at iteration {best[0]:,} to {value:.4f}, "
                f"without a new best in {evaluations} evaluations"
            )
            yield _bad("val-miou-falls", step, evidence, remedies.steadier(case))
            return


def discriminator_loss(case: Case) -> Iterator[Finding]:
    """Below 0.1 the discriminator tells real from predicted at once, above 0.7 it guesses (ln 2 = 0.69)."""
    for (_, before), (step, value) in pairwise(case.points("loss/discriminator")):
        if max(before, value) < 0.1:
            evidence = f"discriminator loss {value:.3f}, below 0.1 at two evaluations running: it wins"
            yield _bad("discriminator-too-strong", step, evidence, remedies.weaker_discriminator(case))
            return
        if min(before, value) > 0.7:
            evidence = f"discriminator loss {value:.3f}, above 0.7 at two evaluations running: it guesses"
            yield _bad("discriminator-too-weak", step, evidence, remedies.stronger_discriminator(case))
            return


def class_at_zero(case: Case) -> Iterator[Finding]:
    """Classes with IoU 0 at two evaluations running, together where it shows of them at once."""
    lost: dict[int, list[str]] = {}
    names = [name for name in case.evaluations if name.startswith(CLASS_IOU)]
    for name in (each.removeprefix(CLASS_IOU) for each in names):
        points = case.points(f"{CLASS_IOU}{name}")
        zero = (step for (_, before), (step, value) in pairwise(points) if max(before, value) < 0.0005)
        if name not in case.left_out and (step := next(zero, None)) is not None:
            lost.setdefault(step, []).append(name)
    begun = min((step for step, _ in case.points("st/pixels")), default=math.inf)
    for step, together in sorted(lost.items()):
        evidence = f"IoU below 0.0005 at two evaluations running: {', '.join(together)}"
        yield _bad("class-at-zero", step, evidence, remedies.find_classes(case, together, self_trained=begun <= step))


def _without_new_best(case: Case) -> Iterator[tuple[Point, Point, int]]:
    """The best so far, an evaluation, and how many there were since, for all that are `PATIENCE` or more."""
    best: Point = (0, -math.inf)
    since = 0
    for point in case.points("val/miou"):
        best, since = (point, 0) if point[1] > best[1] else (best, since + 1)
        if since >= PATIENCE:
            yield best, point, since


def _bad(rule: str, step: int, evidence: str, remedy: str) -> Finding:
    return Finding(rule, "bad", f"{evidence}, at iteration {step:,}", remedy, step)


RULES: tuple[Rule, ...] = (
    loss_not_finite,
    few_st_pixels,
    confident_and_wrong,
    ce_high,
    dice_high,
    loss_oscillates,
    gap_wide,
    overfitting,
    underfitting,
    val_miou_falls,
    discriminator_loss,
    class_at_zero,
)
