"""The figures of an evaluation: classes, confusion, calibration, and what thresholds keep of each class."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

from semiseg.evaluation.boundary import DILATION_RATIO
from semiseg.evaluation.confidence import CALIBRATION_BINS, Confidence
from semiseg.evaluation.measure import Evaluation
from semiseg.report.drawing import (
    GRID,
    HALF,
    INK,
    MUTED,
    PALETTE,
    PAPER,
    STYLE,
    WIDE,
    Picture,
    add_legend,
    canvas,
    label,
    sentences,
    set_title,
)
from semiseg.report.figures import DARK, name_rows

BLUE, ORANGE = PALETTE[0], PALETTE[1]
COLUMNS = 4  # panels side by side


def pictures(evaluation: Evaluation, precision: float) -> Iterator[Picture]:
    """All figures, one at a time in memory."""
    for draw in (class_bars, confusion, reliability):
        with rc_context(STYLE):
            picture = draw(evaluation)
        yield picture
    with rc_context(STYLE):
        picture = threshold_curves(evaluation, precision)
    yield picture


def class_bars(evaluation: Evaluation) -> Picture:
    """IoU and boundary IoU of each class."""
    scores, classes = evaluation.headline, evaluation.subject.bundle.classes
    rows = np.arange(classes.num_classes)
    figure, axes = canvas("IoU of each class", WIDE * 0.6, 1.2 + 0.46 * len(rows))
    for values, offset, color in ((scores.metrics.iou, -0.19, BLUE), (scores.boundary_iou, 0.19, ORANGE)):
        axes.barh(rows + offset, np.nan_to_num(values), 0.34, color=color, edgecolor=PAPER, linewidth=0)
        for row, value in zip(rows, values, strict=True):
            text = "absent" if np.isnan(value) else f"{value:.3f}"
            place = (np.nan_to_num(value), row + offset)
            axes.annotate(text, place, (4, 0), textcoords="offset points", va="center", fontsize=7)
    axes.set_xlim(0, 1.05)
    axes.set_xlabel("IoU")
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    name_rows(figure, axes, classes.names, {n: _rgb(c) for n, c in zip(classes.names, classes.colors, strict=True)})
    add_legend(figure, [Patch(color=BLUE), Patch(color=ORANGE)], ["IoU", "boundary IoU"])
    caption = f"Boundary IoU counts the pixels within {DILATION_RATIO:.0%} of the image's diagonal from a contour."
    return Picture("class_iou", "IoU of each class", caption, figure)


def confusion(evaluation: Evaluation) -> Picture:
    """Where the pixels of each class went, in per cent."""
    matrix, classes = evaluation.headline.metrics.matrix, evaluation.subject.bundle.classes
    total = matrix.sum(1, keepdims=True)
    share = np.divide(100 * matrix, total, out=np.full(matrix.shape, np.nan), where=total > 0)
    side = max(3.0, 0.5 * len(matrix))
    figure, axes = canvas("Confusion of classes", side + 1.8, side + 1.2)
    edges = np.arange(len(matrix) + 1) - 0.5
    axes.pcolormesh(edges, edges, np.ma.masked_invalid(share), cmap="Blues", vmin=0, vmax=100, edgecolor=PAPER)
    axes.set_facecolor(GRID)
    for (row, column), value in np.ndenumerate(share):
        text, color = ("" if np.isnan(value) else f"{value:.0f}"), ("white" if value > DARK else INK)
        axes.text(column, row, text, ha="center", va="center", fontsize=8, color=color)
    axes.set_aspect("equal")
    axes.invert_yaxis()
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    names = [label(name, 20) for name in classes.names]
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right", rotation_mode="anchor")
    axes.tick_params(length=0)
    name_rows(figure, axes, classes.names, {n: _rgb(c) for n, c in zip(classes.names, classes.colors, strict=True)})
    axes.set_ylabel("truth")
    axes.set_xlabel("prediction")
    caption = "In per cent of the pixels of the true class; the diagonal is the recall."
    return Picture("confusion", "Confusion of classes", caption, figure)


def reliability(evaluation: Evaluation) -> Picture:
    """Accuracy over confidence, above how often each confidence occurs."""
    confidence = evaluation.headline.confidence
    figure = Figure(figsize=(HALF, 5.2), layout="constrained")
    set_title(figure, f"Reliability (expected calibration error {confidence.ece:.4f})")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    edges = np.arange(CALIBRATION_BINS) / CALIBRATION_BINS
    width = 1 / CALIBRATION_BINS
    upper.bar(edges, np.nan_to_num(confidence.accuracy), width, align="edge", color=BLUE, edgecolor=PAPER)
    upper.plot((0, 1), (0, 1), "--", color=MUTED)
    upper.plot(confidence.mean_confidence, confidence.accuracy, "o", color=ORANGE, markersize=4)
    upper.set_ylim(0, 1)
    upper.set_ylabel("accuracy")
    lower.bar(edges, confidence.pixels / confidence.pixels.sum(), width, align="edge", color=MUTED, edgecolor=PAPER)
    lower.set_ylabel("pixels")
    lower.set_xlabel("confidence")
    lower.set_xlim(0, 1)
    lower.yaxis.set_major_formatter(PercentFormatter(1.0, 0))
    caption = "Below the diagonal the network is right less often than it believes."
    return Picture("reliability", "Reliability", caption, figure)


def threshold_curves(evaluation: Evaluation, precision: float) -> Picture:
    """Precision and coverage of each class over the threshold, and the threshold that reaches the wanted precision."""
    confidence, names = evaluation.headline.confidence, evaluation.subject.bundle.classes.names
    rows = -(-len(names) // COLUMNS)
    columns = -(-len(names) // rows)  # as few as fill the rows
    figure = Figure(figsize=(WIDE * columns / COLUMNS, 0.9 + 2.1 * rows), layout="constrained")
    title = "What a threshold keeps of each predicted class"
    set_title(figure, title)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    suggested = confidence.suggested(precision, evaluation.subject.excluded)
    for number, panel in enumerate(panels.flat):
        if number >= len(names):
            panel.set_axis_off()
            continue
        _threshold_panel(panel, confidence, number, suggested[number], precision)
        panel.set_title(label(names[number], 24), fontsize=9.5)
        if number + columns >= len(names):  # nothing below it
            panel.set_xlabel("threshold")
            panel.tick_params(labelbottom=True)
    handles = [
        Line2D([], [], color=BLUE),
        Line2D([], [], color=ORANGE, linestyle="--"),
        Line2D([], [], color=MUTED, linestyle=":"),
        Line2D([], [], color=INK),
    ]
    add_legend(figure, handles, ["precision", "coverage", f"precision of {precision:.0%}", "suggested threshold"])
    caption = sentences(
        "Precision: share of the kept pixels that are right. Coverage: share of the pixels predicted as the class that "
        "are kept.",
        "No threshold is suggested where none reaches the wanted precision on 1 % of them.",
    )
    return Picture("thresholds", title, caption, figure)


def _threshold_panel(
    panel: Axes, confidence: Confidence, number: int, suggested: float | None, precision: float
) -> None:
    panel.axhline(precision, color=MUTED, linestyle=":", linewidth=1)
    panel.plot(confidence.thresholds, confidence.precision[number], color=BLUE)
    panel.plot(confidence.thresholds, confidence.coverage[number], "--", color=ORANGE)
    if suggested is not None:
        panel.axvline(suggested, color=INK, linewidth=1)
        panel.annotate(f"{suggested:.2f}", (suggested, 0.04), (3, 0), textcoords="offset points", fontsize=8, color=INK)
    if not confidence.pixels_predicted[number]:
        panel.text(0.5, 0.5, "never predicted", ha="center", va="center", color=MUTED, fontsize=9)
    panel.set_xlim(0, 1)
    panel.set_xticks((0, 0.25, 0.5, 0.75))
    panel.set_ylim(0, 1.02)
    panel.yaxis.set_major_formatter(PercentFormatter(1.0, 0))


def _rgb(color: tuple[int, int, int]) -> tuple[float, ...]:
    return tuple(channel / 255 for channel in color)
