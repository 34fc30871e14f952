"""What a system costs on this machine: milliseconds, memory, bytes."""

from __future__ import annotations

import contextlib
import itertools
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor

from semiseg.evaluation.predictors import Predictor
from semiseg.export.patches import stack_resized

BATCHES = (1, 8)
MOST_ROUNDS, FEWEST_ROUNDS = 30, 3
SECONDS = 8.0  # of measuring for each batch size and number of threads, all systems together
PROBE = Path(__file__).with_name("memory_probe.py")
Open = Callable[[], Predictor]


def thread_counts() -> list[int]:
    """One, and as many as there are processors."""
    return sorted({1, os.cpu_count() or 1})


def latencies(systems: Mapping[str, Open], images: Sequence[Tensor]) -> dict[str, list[dict[str, float]]]:
    """Milliseconds a batch of each system: a row for every number of threads and batch size.

    All systems take turns, so that what else runs on the machine slows all of them. `speedup` is the median over the
    rounds of the time of the first system divided by that of this one. `systems` are opened once for every number of
    threads.
    """
    rows: dict[str, list[dict[str, float]]] = {name: [] for name in systems}
    height, width = images[0].shape[-2:]
    for threads in thread_counts():
        with torch_threads(threads):
            predictors = {name: start() for name, start in systems.items()}
            for batch in BATCHES:
                times = in_turns(predictors, stack_resized(images, batch, height, width))
                first = next(iter(times.values()))
                for name, own in times.items():
                    speedup = statistics.median(a / b for a, b in zip(first, own, strict=True))
                    row = {"threads": threads, "batch": batch, "ms": 1000 * statistics.median(own)}
                    rows[name].append({**row, "fastest_ms": 1000 * min(own), "speedup": speedup, "rounds": len(own)})
    return rows


def in_turns(predictors: Mapping[str, Predictor], images: Tensor) -> dict[str, list[float]]:
    """Seconds of every round of each system; a first round warms up and does not count."""
    times: dict[str, list[float]] = {name: [] for name in predictors}
    begin = time.perf_counter()
    for number in itertools.count():
        order = list(predictors) if number % 2 else list(predictors)[::-1]
        for name in order:
            start = time.perf_counter()
            predictors[name].probabilities(images)
            if number:
                times[name].append(time.perf_counter() - start)
        spent = time.perf_counter() - begin
        if number >= MOST_ROUNDS or (number >= FEWEST_ROUNDS and spent > SECONDS):
            return times
    raise AssertionError


@contextlib.contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """PyTorch, and the ONNX sessions opened meanwhile, on so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def peak_memory(path: Path, height: int, width: int) -> float:
    """MiB of a process that loads a file or a run and predicts one batch of the larger size; NaN where it failed."""
    command = [sys.executable, "-P", str(PROBE), str(path), str(BATCHES[-1]), str(height), str(width)]
    done = subprocess.run(command, capture_output=True, text=True)
    return float(done.stdout.split()[-1]) if done.returncode == 0 and done.stdout.split() else float("nan")


def machine() -> dict[str, Any]:
    """Where it was measured, and how busy it was: load is the mean number of processes that wanted a processor."""
    versions = {name: str(getattr(sys.modules.get(name), "__version__", "")) for name in ("torch", "onnxruntime")}
    return {
        "processor": platform.processor() or platform.machine(),
        "processors": os.cpu_count(),
        "load": round(psutil.getloadavg()[0], 1),
        "versions": versions,
    }
