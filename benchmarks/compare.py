"""Time and memory of `compare.py` on 500 runs of 100 evaluations each, figures, report.html and all.

python benchmarks/compare.py
python benchmarks/compare.py 50          fewer runs

The runs are made up: 20 recipes of each of five systems with five seeds, 5 classes, 140 validation patches.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from run_folders import Classes, make_run

PROJECT = Path(__file__).resolve().parents[1]
RUNS, SEEDS, EVALUATIONS, STEPS, PATCHES = 500, 5, 100, 500, 140
SYSTEMS = {"v1": 0.40, "v2": 0.43, "v3": 0.58, "lightweight": 0.48, "lightweight_original": 0.50}
CLASSES: Classes = {
    "building": (60, 16, 152), "land": (132, 41, 246), "road": (110, 193, 228), "vegetation": (254, 221, 58),
    "water": (226, 169, 41),
}  # fmt: skip
TARGET_SECONDS, TARGET_MIB = 30, 1024


def make_runs(root: Path, count: int) -> None:
    """Run folders of recipes that differ in the learning rate, the later ones a little better."""
    for number in range(count):
        recipe, seed = divmod(number, SEEDS)
        step, system = divmod(recipe, len(SYSTEMS))
        model, miou = list(SYSTEMS.items())[system]
        changed = {"optim.lr": round(1e-4 * (step + 1), 6)}
        make_run(
            root / f"{model}-{step}-{seed}", model=model, seed=seed, miou=miou + 0.002 * step, steps=STEPS,
            evaluations=EVALUATIONS, classes=CLASSES, patches=PATCHES, overrides=changed,
        )  # fmt: skip


@dataclass
class Cost:
    """What a process took. CPU seconds are the fairer measure of the two on a machine that others use as well."""

    wall: float = 0.0
    cpu: float = 0.0
    memory: float = 0.0  # MiB resident at its highest, children included


def measured(command: list[str]) -> Cost:
    """Run a command, looking at it twenty times a second. Raises CalledProcessError where it fails."""
    cost, begin = Cost(), time.perf_counter()
    process = psutil.Popen(command, cwd=PROJECT, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        with contextlib.suppress(psutil.Error):  # it, or a child of it, ended between two looks
            family = [process, *process.children(recursive=True)]
            cost.memory = max(cost.memory, sum(each.memory_info().rss for each in family) / 2**20)
            cost.cpu = sum(sum(each.cpu_times()[:2]) for each in family)
        time.sleep(0.05)
    cost.wall = time.perf_counter() - begin
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return cost


def main() -> None:
    """Make the runs, compare them, print the table."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else RUNS
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "runs"
        make_runs(root, count)
        out = Path(folder) / "report"
        command = [sys.executable, "compare.py", f"runs={root.as_posix()}", f"out={out.as_posix()}", "tracking=none"]
        cost = measured(command)
        figures = len(list((out / "figures").rglob("*.png")))
        page = (out / "report.html").stat().st_size / 2**20
    table = Table(title=f"compare.py on {count} runs of {EVALUATIONS} evaluations, {os.cpu_count()} CPU cores")
    for column in ("measure", "result", "target"):
        table.add_column(column, justify="left" if column == "measure" else "right")
    table.add_row("wall time", f"{cost.wall:.1f} s", f"below {TARGET_SECONDS} s")
    table.add_row("CPU time", f"{cost.cpu:.1f} s", "")
    table.add_row("peak memory", f"{cost.memory:.0f} MiB", f"below {TARGET_MIB} MiB")
    table.add_row("figures, each as PNG and SVG", str(figures), "")
    table.add_row("report.html", f"{page:.1f} MiB", "")
    Console().print(table)


if __name__ == "__main__":
    main()
