"""What each recipe gains over the baseline, and each step of the ablation ladder over the one before it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from semiseg.report.drawing import (
    INK,
    MUTED,
    PAPER,
    PLAIN,
    WIDE,
    Look,
    Picture,
    canvas,
    label,
    looks,
    selection,
    sentences,
    set_title,
    wrapped,
)
from semiseg.report.group import Cohort, Group
from semiseg.report.scores import ladder_notes, leading, partial, rungs
from semiseg.report.statistics import Difference

ROWS = 30  # recipes in the plot of gains
KNOWN = {"better", "worse"}
KEY = "Line: 95 % interval of a paired bootstrap. Filled: told apart from zero; hollow: not, or too few seeds to tell."


def gain_pictures(cohort: Cohort) -> Iterator[Picture]:
    """The ladder where its rungs were run, and the gains over the baseline."""
    yield from ladder(cohort)
    yield from gains(cohort)


def gains(cohort: Cohort) -> Iterator[Picture]:
    """A row a recipe: its gain in validation mIoU over the baseline with its interval."""
    base = cohort.baseline
    if base is None:
        return
    shown = [group for group in leading(cohort, ROWS + 1) if group is not base]
    found = [(group, difference) for group in shown if (difference := group.difference(base)) is not None]
    if not found:
        return
    found.sort(key=lambda pair: -pair[1].mean)
    title = f"Gain in validation mIoU over {label(base.name)}"
    figure, axes = canvas(title, WIDE * 0.75, 1.2 + 0.42 * len(found))
    style = looks(cohort)
    for row, (group, difference) in enumerate(found):
        _interval(axes, row, difference, style.get(group, PLAIN))
    _finish(axes, [group.name for group, _ in found], "mIoU above the baseline")
    caption = sentences(KEY, selection(cohort, len(shown) + 1), _left_out(len(shown) - len(found)), _partial(cohort))
    yield Picture("gain", title, caption, figure)


def ladder(cohort: Cohort) -> Iterator[Picture]:
    """From the first rung of the ladder down to the last: the score, and what the step gained over the one before."""
    steps = rungs(cohort.groups)
    if len(steps) < 2:
        return
    title = "Ablation ladder: one change at a time"
    figure = Figure(figsize=(WIDE, 1.6 + 0.46 * len(steps)))
    figure.set_layout_engine("constrained", w_pad=0.12)  # inches, so that the numbers at the right end before the edge
    set_title(figure, title)
    scores, gained = figure.subplots(1, 2, sharey=True, width_ratios=(1, 1.5))
    style = looks(cohort)
    scores.set_title("Each seed, and their mean", fontsize=10)
    gained.set_title("Gain over the step before", fontsize=10)
    _scores(scores, steps, style)
    for row, (before, group) in enumerate(pairwise(steps), start=1):
        if (difference := group.difference(before)) is not None:
            _interval(gained, row, difference, style.get(group, PLAIN))
    _finish(gained, rung_names(steps), "mIoU above the step before")
    gained.tick_params(axis="y", labelleft=False)
    notes = ladder_notes(cohort.groups)
    caption = sentences("Each step keeps the changes of the ones above it.", *notes, KEY, _partial(cohort))
    yield Picture("ladder", title, caption, figure)


def _partial(cohort: Cohort) -> str:
    """The sentences on the seeds that the differences leave out."""
    return " ".join(f"{text}." for group in cohort.groups if (text := partial(group)))


def _scores(axes: Axes, steps: Sequence[Group], style: dict[Group, Look]) -> None:
    known = [(row, found[0]) for row, group in enumerate(steps) if (found := group.mean_sd("best_val_miou"))]
    axes.plot([mean for _, mean in known], [row for row, _ in known], color=MUTED, linewidth=1)
    for row, group in enumerate(steps):
        look = style.get(group, PLAIN)
        values = group.values("best_val_miou")
        axes.plot(values, [row] * len(values), ".", color=look.color, alpha=0.55, markersize=5)
    for row, mean in known:
        look = style.get(steps[row], PLAIN)
        axes.plot(mean, row, look.marker, color=look.color, markersize=8, markeredgecolor=PAPER)
        axes.annotate(f"{mean:.3f}", (mean, row), (0, 8), textcoords="offset points", ha="center", fontsize=8.5)
    axes.margins(x=0.15)
    axes.set_xlabel("validation mIoU")


def rung_names(steps: Sequence[Group]) -> list[str]:
    """`ladder/1_architecture` -> `1 architecture`; of what else was typed, what not all rungs have in common stays."""
    typed = [group.name.replace("ladder/", "", 1).replace("_", " ", 1).split(" ") for group in steps]
    common = set.intersection(*map(set, typed))
    return [" ".join(word for word in words if word not in common) for words in typed]


def _interval(axes: Axes, row: int, difference: Difference, look: Look) -> None:
    """Mean and interval as a marked line, and both in numbers at the right edge."""
    fill = look.color if difference.verdict in KNOWN else PAPER
    axes.plot([difference.low, difference.high], [row, row], color=look.color, linewidth=2, solid_capstyle="butt")
    axes.plot(difference.mean, row, look.marker, markerfacecolor=fill, markeredgecolor=look.color, markersize=8,
              markeredgewidth=1.6)  # fmt: skip
    axes.annotate(f"{difference.text()}\n{difference.verdict}", (1, row), (8, 0), xycoords=axes.get_yaxis_transform(),
                  textcoords="offset points", va="center", fontsize=8.5, color=INK, linespacing=1.25)  # fmt: skip


def _finish(axes: Axes, names: Sequence[str], unit: str) -> None:
    """Row names from the top down, and a line at no gain."""
    axes.axvline(0, color=MUTED, linewidth=1)
    axes.set_yticks(range(len(names)), [wrapped(name, 36, 2) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:+.6g}" if abs(value) > 1e-12 else "0")
    axes.margins(x=0.08)
    axes.set_xlabel(unit)


def _left_out(count: int) -> str:
    return f"{count} left out: no confusion matrices an image, or those of other patches." if count else ""
