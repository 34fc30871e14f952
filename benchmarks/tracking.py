"""What recording costs a training: `python benchmarks/tracking.py`.

Plays 20 metrics every 10 steps, an evaluation with 40 every 500, into each recorder, without the training in between,
and prints the milliseconds a step and their share of a step of 0.1 s. The target is below 2 % for all together.
"""

from __future__ import annotations

import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rich.console import Console as Terminal
from rich.table import Table

from semiseg.console import PlainConsole, RichConsole
from semiseg.tracking import MetricsFile
from semiseg.tracking.mlflow import MLflowTracker

STEPS, LOG_EVERY, EVAL_EVERY, STEP_SECONDS = 5000, 10, 500, 0.1
METRICS = {f"loss/part{i}": 0.1 * i for i in range(20)}
EVALUATION = {f"val/iou/class {i}": 0.01 * i for i in range(40)}
FIELDS = {"CE": "0.285", "Dice": "0.182", "ST": "0.412", "ST_px": "34821"}


def milliseconds_a_step(log: Callable[[int], None], evaluate: Callable[[int], None]) -> float:
    begin = time.perf_counter()
    for step in range(LOG_EVERY, STEPS + 1, LOG_EVERY):
        log(step)
        if step % EVAL_EVERY == 0:
            evaluate(step)
    return (time.perf_counter() - begin) / STEPS * 1000


def mlflow_sqlite(root: Path) -> float:
    """Processor time of the calling thread and the sender's, with the metrics.jsonl that is mirrored and all it takes
    to bring the store level at the end."""
    file, tracker = MetricsFile(root / "run" / "metrics.jsonl"), MLflowTracker("benchmark", root=root)
    tracker.start("run", {}, run_dir=root / "run")

    def log(values: dict[str, float], step: int) -> None:
        file.log(values, step)
        tracker.log_metrics(values, step)

    def evaluate(step: int) -> None:
        log(EVALUATION, step)
        tracker.flush()

    begin = time.process_time()
    milliseconds_a_step(lambda step: log(METRICS, step), evaluate)
    tracker.finish("FINISHED")
    return (time.process_time() - begin) / STEPS * 1000


def metrics_file(root: Path) -> float:
    file = MetricsFile(root / "metrics.jsonl")
    return milliseconds_a_step(lambda step: file.log(METRICS, step), lambda step: file.log(EVALUATION, step))


def console(console: PlainConsole | RichConsole) -> float:
    console.start(STEPS, 0, "Training")

    def evaluate(step: int) -> None:
        console.evaluation(step, 0.6, 0.5, 0.1, 0.4, True, EVALUATION, Path("best_model.pth"))

    cost = milliseconds_a_step(lambda step: console.step(step, FIELDS, 40.0), evaluate)
    console.close()
    return cost


def main() -> None:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        root = Path(folder)
        screen = Terminal(file=io.StringIO(), force_terminal=True, width=120)
        costs = {
            "MLflow, SQLite, and metrics.jsonl": mlflow_sqlite(root),
            "metrics.jsonl": metrics_file(root),
            "plain console": console(PlainConsole(root / "plain.txt", io.StringIO())),
            "rich console": console(RichConsole(root / "rich.txt", screen)),
        }
    table = Table("recorder", "ms a step", f"share of {STEP_SECONDS} s")
    for name, cost in costs.items():
        table.add_row(name, f"{cost:.3f}", f"{cost / STEP_SECONDS / 1000:.2%}")
    Terminal().print(table)


if __name__ == "__main__":
    main()
