"""What accuracy costs: mIoU against parameters, arithmetic and time, with the recipes that nothing beats on both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter, NullLocator

from semiseg.report.drawing import MUTED, PAPER, PLAIN, Look, Picture, add_legend, canvas, looks, sentences
from semiseg.report.group import Cohort, Group

LOGARITHMIC = 8  # ratio of the dearest to the cheapest from which the axis is
LISTED = 12  # recipes of the front that the caption names


@dataclass(frozen=True)
class Cost:
    """A price of a recipe, as a number of its summaries."""

    key: str
    title: str
    unit: str
    scale: float


COSTS = (
    Cost("parameters", "mIoU against parameters", "parameters, million", 1e-6),
    Cost("gflops", "mIoU against arithmetic", "GFLOPs of one image, forward", 1.0),
    Cost("latency_ms", "mIoU against latency", "milliseconds for one image, forward", 1.0),
    Cost("train_seconds", "mIoU against time in training steps", "minutes in training steps", 1 / 60),
)


class Priced(Protocol):
    """What has a cost and an accuracy."""

    @property
    def cost(self) -> float: ...
    @property
    def miou(self) -> float: ...


P = TypeVar("P", bound=Priced)


@dataclass(frozen=True)
class Point:
    """A recipe at its mean cost and mean peak validation mIoU."""

    group: Group
    cost: float
    miou: float
    sd: float


def tradeoff_pictures(cohort: Cohort) -> Iterator[Picture]:
    """One plot a cost in which at least two recipes differ."""
    for cost in COSTS:
        points = [point for group in cohort.groups if (point := _point(group, cost)) is not None]
        if len({point.cost for point in points}) > 1:
            yield _picture(cohort, cost, points)


def _point(group: Group, cost: Cost) -> Point | None:
    price, score = group.mean_sd(cost.key), group.mean_sd("best_val_miou")
    if price is None or score is None or price[0] <= 0 or not np.isfinite([price[0], score[0]]).all():
        return None
    return Point(group, price[0] * cost.scale, score[0], score[1] or 0.0)


def pareto_front(points: Sequence[P]) -> list[P]:
    """The points that no other one equals or beats in both cost and mIoU, from the cheapest to the dearest."""
    front: list[P] = []
    for point in sorted(points, key=lambda p: (p.cost, -p.miou)):
        if not front or point.miou > front[-1].miou:
            front.append(point)
    return front


def _picture(cohort: Cohort, cost: Cost, points: Sequence[Point]) -> Picture:
    figure, axes = canvas(cost.title, height=3.8)
    style, front = looks(cohort), pareto_front(points)
    axes.plot(
        [p.cost for p in front], [p.miou for p in front], drawstyle="steps-post", color=MUTED, linewidth=1.2, zorder=1
    )
    plain = [point for point in points if point.group not in style]
    others = {f"{len(plain)} other recipes": _draw(axes, plain, PLAIN)} if plain else {}
    own = {point.group.name: _draw(axes, [point], style[point.group]) for point in points if point.group in style}
    for number, point in enumerate(front, start=1):
        axes.annotate(str(number), (point.cost, point.miou), (-9, 5), textcoords="offset points", fontweight="bold")
    _scale(axes, [point.cost for point in points])
    axes.set_xlabel(cost.unit)
    axes.set_ylabel("peak validation mIoU")
    axes.margins(0.1)
    named = own | others
    add_legend(figure, list(named.values()), list(named))
    listed = ", ".join(f"{number} {point.group.name}" for number, point in enumerate(front[:LISTED], start=1))
    more = f" and {len(front) - LISTED} more" if len(front) > LISTED else ""
    caption = sentences(
        f"On the front, where nothing is both cheaper and better, from the cheapest: {listed}{more}.",
        "Bars: one standard deviation over seeds." if any(point.sd for point in points) else "",
    )
    return Picture(f"pareto_{cost.key}", cost.title, caption, figure)


def _draw(axes: Axes, points: Sequence[Point], look: Look) -> object:
    costs, mious, sds = [p.cost for p in points], [p.miou for p in points], [p.sd for p in points]
    if any(sds):
        axes.errorbar(costs, mious, yerr=sds, fmt="none", ecolor=look.color, elinewidth=1.2, zorder=2)
    size = 6 if look is PLAIN else 8
    (handle,) = axes.plot(costs, mious, look.marker, color=look.color, markersize=size, markeredgecolor=PAPER,
                          markeredgewidth=0.8, linestyle="", zorder=3)  # fmt: skip
    return handle


def _scale(axes: Axes, costs: Sequence[float]) -> None:
    """A logarithmic axis with plain numbers where the costs are far apart."""
    if max(costs) / min(costs) >= LOGARITHMIC:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_minor_formatter(NullFormatter())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
