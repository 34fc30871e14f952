"""The table and the plot of the efficiency frontier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from semiseg.report.tradeoffs import pareto_front

Row = Mapping[str, Any]


class Point(NamedTuple):
    """A system at one of its costs."""

    cost: float
    miou: float
    name: str


def frontier_table(rows: Sequence[Row]) -> str:
    """A row a system, in Markdown. Latency is of one thread, which other programs disturb least; the results hold that
    of all threads too."""
    heads = ("system", "parameters", "MiB", *(f"ms, batch {each['batch']}" for each in one_thread(rows[0])),
             "memory, MiB", "val mIoU")  # fmt: skip
    lines = [" | ".join(heads), "|".join(["---"] * len(heads)), *(" | ".join(_cells(row)) for row in rows)]
    return "\n".join(f"| {line} |" if "---" not in line else f"|{line}|" for line in lines)


def _cells(row: Row) -> tuple[str, ...]:
    times = [f"{each['ms']:.1f}" for each in one_thread(row)]
    memory, miou = f"{row['memory_mib']:,.0f}", f"{row['miou']:.3f}"
    return (row["name"], f"{row['parameters']:,}", f"{row['mib']:.2f}", *times, memory, miou)


def one_thread(row: Row) -> list[Mapping[str, Any]]:
    """The latencies of one thread, a batch size each."""
    return [each for each in row["latency"] if each["threads"] == 1]


def draw_frontier(rows: Sequence[Row], path: Path) -> None:
    """mIoU against latency and against the size of the file, with the systems that nothing beats on both joined."""
    figure = Figure(figsize=(9.6, 3.9), layout="constrained", facecolor="white")
    left, right = figure.subplots(1, 2, sharey=True)
    left.set_ylabel("validation mIoU")
    _panel(
        left, [Point(row["latency"][0]["ms"], row["miou"], row["name"]) for row in rows], "ms for one patch, one thread"
    )
    _panel(right, [Point(row["mib"], row["miou"], row["name"]) for row in rows], "MiB of the weights file")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def _panel(axes: Axes, points: Sequence[Point], label: str) -> None:
    front = pareto_front(points)
    axes.plot([p.cost for p in front], [p.miou for p in front], drawstyle="steps-post", color="#9aa0a6", linewidth=1.2)
    for point in points:
        color = "#0b6e4f" if point in front else "#b0b4b9"
        axes.plot([point.cost], [point.miou], "o", color=color, markersize=7)
        axes.annotate(point.name, (point.cost, point.miou), (6, 5), textcoords="offset points", fontsize=8)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
    axes.set_xlabel(label)
    axes.margins(0.18)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
