"""Learning curves: one plot a quantity, one line a recipe, with the spread of its seeds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from semiseg.report.drawing import MUTED, Look, Picture, add_legend, canvas, looks, selection, sentences
from semiseg.report.group import Cohort, Group
from semiseg.report.history import Curve, spread

POINTS = 240  # of a line; more cannot be told apart at this size, and make the report megabytes larger
WITH_MARKERS = 30  # points up to which each is marked
LOSSES = {
    "ce": "cross-entropy", "dice": "Dice", "focal": "focal", "st": "self-training", "fm": "feature matching",
    "discriminator": "discriminator", "distil": "distance from the teacher, labelled patches",
    "distil_unlabeled": "distance from the teacher, unlabelled patches", "total": "total",
}  # fmt: skip


@dataclass(frozen=True)
class Quantity:
    """Something logged over the steps, and how it is shown."""

    key: str
    title: str
    unit: str
    caption: str = ""
    percent: bool = False


SCORES = (
    Quantity("val/miou", "Validation mIoU", "mIoU", "Of the evaluated weights, over the whole validation pool."),
    Quantity("train/miou", "Training mIoU", "mIoU", "On training patches without augmentation."),
    Quantity("gap", "Train/val gap", "mIoU", "Training minus validation mIoU: the more, the more is learnt by heart."),
)
SELF_TRAINING = (
    Quantity("st/coverage", "ST coverage", "of the unlabelled pixels", "Share of them used for self-training.", True),
    Quantity("st/precision", "ST precision", "of the kept pixels", "Share of them whose pseudo label is right.", True),
)
THRESHOLD = Quantity(
    "pseudo_label/threshold", "Pseudo-label threshold", "score", "What is trained on has to exceed it."
)


def score_curves(cohort: Cohort) -> Iterator[Picture]:
    """Validation and training mIoU, and the gap between them."""
    yield from _pictures(cohort, SCORES)


def training_curves(cohort: Cohort) -> Iterator[Picture]:
    """Losses, self-training, threshold and learning rates."""
    logged = sorted({name for group in looks(cohort) for history in group.histories for name in history})
    losses = [_loss(name) for name in logged if name.startswith("loss/")]
    rates = [_rate(name) for name in logged if name.startswith("lr/")]
    yield from _pictures(cohort, [*losses, *SELF_TRAINING, THRESHOLD, *rates])


def _loss(key: str) -> Quantity:
    name = key.removeprefix("loss/")
    return Quantity(key, f"Loss: {LOSSES.get(name, name)}", "loss")


def _rate(key: str) -> Quantity:
    return Quantity(key, f"Learning rate: {key.removeprefix('lr/')}", "learning rate")


def _pictures(cohort: Cohort, quantities: tuple[Quantity, ...] | list[Quantity]) -> Iterator[Picture]:
    for quantity in quantities:
        lines = {group: curve for group in looks(cohort) if (curve := curve_of(group, quantity.key)) is not None}
        if lines:
            yield _picture(cohort, quantity, lines)


def curve_of(group: Group, key: str) -> Curve | None:
    """Mean and spread of a quantity over the seeds that logged it; None where none did."""
    found = [history[key] for history in group.histories if key in history]
    curve = spread(found) if found else None
    return curve if curve is not None and len(curve.steps) else None


def _picture(cohort: Cohort, quantity: Quantity, lines: dict[Group, Curve]) -> Picture:
    figure, axes = canvas(quantity.title)
    style = looks(cohort)
    thin = max(1, max(-(-len(curve.steps) // POINTS) for curve in lines.values()))
    handles = [_draw(axes, thinned(curve, thin), style[group]) for group, curve in lines.items()]
    axes.set_xlabel("iteration")
    axes.set_ylabel(quantity.unit)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda step, _: f"{step:,.0f}"))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, 0) if quantity.percent else FuncFormatter(_plain))
    axes.margins(x=0.02)
    if quantity.key == "gap":
        axes.axhline(0, color=MUTED, linewidth=0.8)
    add_legend(figure, handles, [group.name for group in lines])
    several = any(len(group.runs) > 1 for group in lines)
    caption = sentences(
        quantity.caption,
        "Line: mean over seeds; band: from the lowest to the highest seed." if several else "",
        f"Means of {thin} logged values each." if thin > 1 else "",
        selection(cohort, len(style)),
    )
    return Picture(f"curve_{_stem(quantity.key)}", quantity.title, caption, figure)


def _draw(axes: Axes, curve: Curve, look: Look) -> object:
    marker = look.marker if len(curve.steps) <= WITH_MARKERS else ""
    (line,) = axes.plot(curve.steps, curve.mean, look.dash, color=look.color, marker=marker, markersize=3.5)
    if np.any(curve.high > curve.low):
        axes.fill_between(curve.steps, curve.low, curve.high, color=look.color, alpha=0.16, linewidth=0)
    return line


def thinned(curve: Curve, every: int) -> Curve:
    """Means over `every` points in a row; the last ones may be fewer."""
    if every == 1:
        return curve
    starts = np.arange(0, len(curve.steps), every)
    counts = np.diff(np.append(starts, len(curve.steps)))
    steps, mean, low, high = (
        np.add.reduceat(values.astype(float), starts) / counts
        for values in (curve.steps, curve.mean, curve.low, curve.high)
    )
    return Curve(steps, mean, low, high)


def _plain(value: float, _: int) -> str:
    """A tick as a plain number: matplotlib would set a factor apart, far from the numbers it belongs to."""
    return f"{value:.6g}"


def _stem(key: str) -> str:
    """A file name: letters, digits, `_` and `-`."""
    return "".join(c if c.isascii() and (c.isalnum() or c in "_-") else "_" for c in key.lower())
