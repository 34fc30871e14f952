"""Real trainings as processes of their own, started in a fraction of the time that the imports take."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from multiprocessing.context import BaseContext
from pathlib import Path

import pytest
import torch
from tests.end_to_end.conftest import DEFAULTS, RunFiles, place, plant, planted, with_defaults
from tests.end_to_end.networks import thin_networks

__all__ = ["place", "planted"]  # fixtures of the end-to-end tests that these need too

LONG = os.environ.get("SEMISEG_FAULTS") == "long"
PRELOADED = ["semiseg.train", "semiseg.sweep.launcher", "mlflow", "mlflow.store.tracking.sqlalchemy_store", "cv2"]


def train(folder: str, overrides: Sequence[str], log: str) -> None:
    """What a process does: the command line's own function, in `folder`, with its output in a file.

    ResNets are thin except in the long form.
    """
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.stdout = sys.stderr = open(log, "a", buffering=1, encoding="utf-8")  # noqa: PTH123, SIM115
    os.chdir(folder)
    torch.set_num_threads(1)
    multiprocessing.set_start_method(None, force=True)  # its loaders' processes start as those of a typed command
    from semiseg.cli import run_verb

    with nullcontext() if LONG else thin_networks():
        status = run_verb("train", list(overrides))
    sys.stdout.flush()
    sys.exit(status)


class Training:
    """A training that runs."""

    def __init__(self, context: BaseContext, place: Path, overrides: Sequence[str]) -> None:
        self.log = place / "output.txt"
        self._said_before = self.log.stat().st_size if self.log.exists() else 0
        arguments = (str(place), list(overrides), str(self.log))
        self.process = context.Process(target=train, args=arguments)  # type: ignore[attr-defined]
        self.process.start()

    @property
    def running(self) -> bool:
        return self.process.is_alive()

    def send(self, number: int) -> None:
        """A signal, as another process sends it."""
        if self.running and self.process.pid:
            os.kill(self.process.pid, number)

    def wait(self, seconds: float = 1800) -> int:
        """The exit status once it has ended: negative for a signal that ended it."""
        self.process.join(seconds)
        assert not self.running, f"it still runs after {seconds} s: {self.said()[-2000:]}"
        return self.process.exitcode or 0

    def said(self) -> str:
        """Its output, that of earlier ones in the same place left out."""
        content = self.log.read_bytes() if self.log.exists() else b""
        return content[self._said_before :].decode(errors="replace")


class Yard:
    """A folder with the tiny data set, in which trainings are started, killed and continued."""

    def __init__(self, path: Path, context: BaseContext) -> None:
        self.path, self._context = path, context
        self._started: list[Training] = []

    def start(self, *overrides: str) -> Training:
        """A training with these overrides alone."""
        self._started.append(Training(self._context, self.path, overrides))
        return self._started[-1]

    def clear(self) -> None:
        """End what still runs, and remove the checkpoints: pytest would keep hundreds of megabytes of them."""
        for training in self._started:
            training.process.kill()
            training.process.join()
        shutil.rmtree(self.path / "runs", ignore_errors=True)

    def typed(self, *overrides: str) -> list[str]:
        """The overrides, and those of a tiny training that they do not give."""
        return with_defaults(DEFAULTS, overrides)

    def run(self, name: str) -> RunFiles:
        """What a training left."""
        return RunFiles(self.path / "runs" / "semiseg" / name)


@pytest.fixture(scope="session")
def processes() -> BaseContext:
    """Where the system can, processes are copies of one that has imported all that a training needs."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


@pytest.fixture
def yard(tmp_path: Path, processes: BaseContext) -> Iterator[Yard]:
    plant(tmp_path / "data")
    yard = Yard(tmp_path, processes)
    yield yard
    yard.clear()


def until(condition: Callable[[], bool], training: Training, seconds: float = 900) -> bool:
    """Wait for a condition; False where the training ended before."""
    end = time.monotonic() + seconds
    while not condition():
        if not training.running or time.monotonic() > end:
            return False
        time.sleep(0.001)
    return True
