"""The table and the plot of the efficiency frontier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from semiseg.report.drawing import look
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
    """mIoU against latency and against the size of the file; what nothing beats on both is joined."""
    figure = Figure(figsize=(9.6, 3.9), layout="constrained", facecolor="white")
    left, right = figure.subplots(1, 2, sharey=True)
    left.set_ylabel("validation mIoU")
    milliseconds = [Point(row["latency"][0]["ms"], row["miou"], row["name"]) for row in rows]
    _panel(left, milliseconds, "ms for one patch, one thread")
    _panel(right, [Point(row["mib"], row["miou"], row["name"]) for row in rows], "MiB of the weights file")
    # Names in a legend, because systems of about the same cost would write theirs over each other.
    figure.legend(*left.get_legend_handles_labels(), loc="outside right center", frameon=False, fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def _panel(axes: Axes, points: Sequence[Point], label: str) -> None:
    front = pareto_front(points)
    axes.plot([p.cost for p in front], [p.miou for p in front], drawstyle="steps-post", color="#9aa0a6", linewidth=1.2)
    for number, point in enumerate(points):
        style = look(number)
        axes.plot(
            [point.cost],
            [point.miou],
            style.marker,
            color=style.color,
            markersize=8,
            label=point.name,
            linestyle="none",
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlabel(label)
    axes.margins(0.1)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
