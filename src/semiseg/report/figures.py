"""The figures of a cohort: learning curves, classes, confusion, gains with their intervals, and what accuracy costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.transforms import ScaledTranslation

from semiseg.report.curves import score_curves, training_curves
from semiseg.report.drawing import (
    GRID,
    INK,
    MUTED,
    PAPER,
    STYLE,
    WIDE,
    Picture,
    add_legend,
    canvas,
    label,
    looks,
    save,
    selection,
    sentences,
    set_title,
    wrapped,
)
from semiseg.report.examples import example_pictures
from semiseg.report.gains import gain_pictures
from semiseg.report.group import Cohort, Group
from semiseg.report.tradeoffs import tradeoff_pictures

__all__ = ["Picture", "pictures", "save"]

BARS = 96  # in one plot
CELLS = 2000  # of confusion matrices in one figure
DARK = 55  # per cent from which the number in a cell is white


def pictures(cohort: Cohort) -> Iterator[Picture]:
    """All figures of a cohort for which it has data, one at a time, what matters most first."""
    parts = (gain_pictures, score_curves, class_bars, confusion_matrices, example_pictures, tradeoff_pictures,
             training_curves)  # fmt: skip
    for part in parts:
        drawn = part(cohort)
        while True:
            with rc_context(STYLE):  # not across the yield: the style would be that of the caller, too
                picture = next(drawn, None)
            if picture is None:
                break
            yield picture


def class_bars(cohort: Cohort) -> Iterator[Picture]:
    """IoU of each class and recipe, with the colours of the classes at their names."""
    style = looks(cohort)
    classes = list(dict.fromkeys(name for group in style for run in group.runs for name in run.class_iou))
    groups = list(style)[: max(1, BARS // max(1, len(classes)))]
    if not classes:
        return
    height = 0.8 / len(groups)
    figure, axes = canvas("IoU of each class", WIDE * 0.75, 1.1 + len(classes) * (0.22 + 0.15 * len(groups)))
    for number, group in enumerate(groups):
        found = [group.class_iou(name) or (np.nan, None) for name in classes]
        at = np.arange(len(classes)) + (number - (len(groups) - 1) / 2) * height
        look = style[group]
        axes.barh(
            at, [m for m, _ in found], height * 0.9, color=look.color, hatch=look.hatch, edgecolor=PAPER, linewidth=0
        )
        axes.errorbar(
            [m for m, _ in found], at, xerr=[sd or 0 for _, sd in found], fmt="none", ecolor=INK, elinewidth=0.9
        )
        for row, (mean, sd) in zip(at, found, strict=True):
            if not np.isnan(mean):
                axes.annotate(
                    f"{mean:.3f}", (mean + (sd or 0), row), (4, 0), textcoords="offset points", va="center", fontsize=7
                )
    axes.set_xlim(left=0)
    axes.set_xlabel("IoU")
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    name_rows(figure, axes, classes, class_colors(groups))
    patches = [Patch(facecolor=style[g].color, hatch=style[g].hatch, edgecolor=PAPER, linewidth=0) for g in groups]
    add_legend(figure, patches, [group.name for group in groups])
    several = any(len(group.runs) > 1 for group in groups)
    caption = sentences(
        "At the best evaluation; no bar: absent from truth and prediction.",
        "Bar: mean over seeds; line: one standard deviation to each side." if several else "",
        "The square at a name is the colour of the class in masks." if class_colors(groups) else "",
        selection(cohort, len(groups)),
    )
    yield Picture("class_iou", "IoU of each class", caption, figure)


def class_colors(groups: Sequence[Group]) -> dict[str, tuple[float, ...]]:
    """Class name -> RGB of 0 to 1; empty where no run says."""
    for run in (run for group in groups for run in group.runs):
        found = run.summary.get("colors")
        if isinstance(found, dict) and found:
            return {str(name): tuple(channel / 255 for channel in color) for name, color in found.items()}
    return {}


def name_rows(figure: Figure, axes: Axes, classes: Sequence[str], colors: Mapping[str, tuple[float, ...]]) -> None:
    """Class names at the rows of a plot, each with a square of its colour."""
    axes.set_yticks(range(len(classes)), [label(name, 24) for name in classes])
    axes.tick_params(axis="y", length=0, pad=14)
    beside = axes.get_yaxis_transform() + ScaledTranslation(-8 / 72, 0, figure.dpi_scale_trans)
    for number, name in enumerate(classes):
        if name in colors:
            axes.plot(0, number, "s", color=colors[name], markeredgecolor=MUTED, markeredgewidth=0.6, markersize=7,
                      transform=beside, clip_on=False)  # fmt: skip


def confusion_matrices(cohort: Cohort) -> Iterator[Picture]:
    """Where the pixels of each class went, in per cent, a panel a recipe."""
    found = [(group, matrix) for group in looks(cohort) if (matrix := group.confusion()) is not None]
    if not found:
        return
    classes = max(len(matrix) for _, matrix in found)
    found = found[: max(1, CELLS // classes**2)]
    side = max(2.3, 0.4 * classes)
    columns = max(1, min(len(found), int((WIDE - 1.2) / side)))
    rows = -(-len(found) // columns)
    figure = Figure(figsize=(1.2 + side * columns, 0.8 + (side + 0.6) * rows), layout="compressed")
    set_title(figure, "Confusion of classes")
    panels = figure.subplots(rows, columns, squeeze=False)
    for number, panel in enumerate(panels.flat):
        if number >= len(found):
            panel.set_axis_off()
            continue
        _confusion_panel(figure, panel, *found[number], named=number % columns == 0)
    caption = sentences(
        "Row: true class; column: predicted class; in per cent of the pixels of the true class, over all seeds, at the "
        "best evaluation. The diagonal is the recall.",
        selection(cohort, len(found)),
    )
    yield Picture("confusion", "Confusion of classes", caption, figure)


def _confusion_panel(figure: Figure, panel: Axes, group: Group, matrix: np.ndarray, named: bool) -> None:
    """One matrix; `named` panels carry the names of the rows."""
    total = matrix.sum(1, keepdims=True)
    share = np.divide(100 * matrix, total, out=np.full(matrix.shape, np.nan), where=total > 0)
    names = class_names(group, len(matrix))
    edges = np.arange(len(matrix) + 1) - 0.5
    panel.pcolormesh(edges, edges, np.ma.masked_invalid(share), cmap="Blues", vmin=0, vmax=100, edgecolor=PAPER)
    panel.set_facecolor(GRID)
    for (row, column), value in np.ndenumerate(share):
        text = "" if np.isnan(value) else f"{value:.0f}"
        color = "white" if value > DARK else "#14181d"  # on the blue of the cell, the same in both themes
        # In the layout, which these texts do not change, they would take as long as all else.
        panel.text(column, row, text, ha="center", va="center", fontsize=8, color=color, in_layout=False)
    panel.set_aspect("equal")
    panel.invert_yaxis()
    panel.grid(visible=False)
    panel.spines[:].set_visible(False)
    panel.set_title(wrapped(group.name, 24), fontsize=9.5)
    panel.set_xticks(
        range(len(names)), [label(name, 16) for name in names], rotation=40, ha="right", rotation_mode="anchor"
    )
    panel.tick_params(length=0)
    if named:
        name_rows(figure, panel, names, class_colors([group]))
        panel.set_ylabel("truth")
    else:
        panel.set_yticks(range(len(names)), [""] * len(names))


def class_names(group: Group, count: int) -> list[str]:
    """Names in the order of the ids; runs of older versions name their classes only where all of them occur."""
    for run in group.runs:
        for names in (run.classes, list(run.class_iou)):
            if len(names) == count:
                return names
    return [str(number) for number in range(count)]
