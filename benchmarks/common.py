"""One training in a process of its own, taken up again where an earlier call of the benchmark left it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from semiseg.errors import SemisegError
from semiseg.report.collect import read_run

PROJECT = Path(__file__).resolve().parents[1]
DUBAI = os.environ.setdefault("SEMISEG_DUBAI", str(PROJECT.parent / "shared" / "data" / "dubai-landcover"))
Runner = Callable[[list[str], int], None]


def train(folder: Path, overrides: list[str], threads: int, runner: Runner | None = None) -> Mapping[str, Any]:
    """The summary of the run in `folder` (OUTPUT/EXPERIMENT/NAME), which is trained where it is not complete yet.

    A run with a checkpoint is continued; without one it cannot be, so what is left of it is removed. Two calls must not
    share a folder. `runner` takes the arguments of `semiseg` and the threads. Raises SemisegError where the training
    failed or its summary does not call it complete.
    """
    if (run := read_run(folder)).finished:
        return run.summary
    resume = (folder / "checkpoints" / "latest_checkpoint.pth").is_file()
    if folder.exists() and not resume:
        shutil.rmtree(folder)
    experiment = folder.parent
    place = [f"output={experiment.parent.as_posix()}", f"experiment_name={experiment.name}", f"name={folder.name}"]
    (runner or semiseg)(["train", *place, *(["resume=true"] if resume else []), *overrides], threads)
    if not (run := read_run(folder)).finished:
        raise SemisegError(f"{folder} did not complete: {run.status}. Start the benchmark again to continue it.")
    return run.summary


def semiseg(arguments: list[str], threads: int) -> None:
    """`semiseg` in a new process, from the project's folder. Raises SemisegError with the end of what it said."""
    command = [sys.executable, "-m", "semiseg", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, encoding="utf-8")
    if done.returncode:
        raise SemisegError(f"{' '.join(arguments)} failed: {done.stderr.strip()[-2000:]}")
