"""What a recipe costs beside its score, and how many times the cost of the baseline that is."""

from __future__ import annotations

from collections.abc import Sequence

from semiseg.report.group import Cohort, Group
from semiseg.report.scores import Column, number_text
from semiseg.report.table import Cells

COLUMNS: tuple[Column, ...] = (
    ("peak val mIoU", "best_val_miou", "{:.4f}"),
    ("parameters", "parameters", "{:,.0f}"),
    ("weights, MiB", "weights_mib", "{:,.2f}"),
    ("GFLOPs an image", "gflops", "{:,.2f}"),
    ("latency, ms", "latency_ms", "{:,.2f}"),
    ("images/s in training", "images_per_s", "{:,.1f}"),
    ("peak memory in training, MiB", "peak_memory_mib", "{:,.0f}"),
)
MINOR = ("weights, MiB", "GFLOPs an image", "images/s in training", "peak memory in training, MiB")
LATENCY = "Latency is the median forward pass of one image of the crop size, in a batch of one"


def efficiency_table(cohort: Cohort) -> Cells:
    """A row a recipe: size, arithmetic, latency, speed and memory, each with its ratio to the baseline."""
    base = cohort.baseline
    rows = [[group.name, *(_cell(group, base, key, form) for _, key, form in COLUMNS)] for group in cohort.groups]
    title = "Efficiency" if base is None or len(rows) == 1 else f"Efficiency, and its ratio to {base.name}"
    return Cells(title, ["recipe", *(heading for heading, _, _ in COLUMNS)], rows, minor=MINOR).without_empty()


def _cell(group: Group, base: Group | None, key: str, form: str) -> str:
    """`2,516,853 (×0.37)`; without the ratio for the baseline itself, or where it has no such number."""
    text = number_text(group, key, form)
    mine, other = group.mean_sd(key), base.mean_sd(key) if base is not None else None
    if group is base or mine is None or other is None or other[0] <= 0:
        return text
    return f"{text} (×{mine[0] / other[0]:.2f})"


def efficiency_notes(groups: Sequence[Group]) -> list[str]:
    """On what hardware the latencies were measured; nothing where there are none."""
    measured = [run for group in groups for run in group.runs if run.number("latency_ms") is not None]
    machines = dict.fromkeys(str(run.summary.get("hardware") or "unnamed hardware") for run in measured)
    if not machines:
        return []
    if len(machines) == 1:
        return [f"{LATENCY}, on {next(iter(machines))}."]
    return [f"{LATENCY}. It was measured on different machines and cannot be compared: {'; '.join(machines)}."]
