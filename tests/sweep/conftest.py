"""Sweeps through the command line, with a stand-in for the training that ends in a twentieth of a second."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.core.singleton import Singleton

from semiseg.cli import run_verb

# What a job does depends on its seed: 1 runs out of memory, 2 is killed, 3 is refused, 4 waits to be stopped.
TRAINING = """
import json, os, pathlib, signal, sys, time
typed = dict(word.lstrip("+").split("=", 1) for word in sys.argv[1:])
folder = pathlib.Path(typed["hydra.run.dir"].strip("'"))
seed, latest = int(typed.get("seed", 0)), folder / "checkpoints" / "latest_checkpoint.pth"
if typed.get("resume") == "true":
    assert latest.exists()
    seed = 0
elif seed in (1, 2, 4):
    latest.parent.mkdir(parents=True)
    latest.touch()
    (folder / "summary.json").write_text(json.dumps({"status": "interrupted", "best_val_miou": None}))
with open(folder.parent / "order.txt", "a") as file:
    file.write(" ".join([folder.name, os.environ.get("CUDA_VISIBLE_DEVICES") or "-"]))
    file.write(" resumed\\n" if "resume" in typed else "\\n")
if seed == 1:
    raise RuntimeError("CUDA out of memory")
if seed == 2:
    os.kill(os.getpid(), signal.SIGKILL)
if seed == 3:
    sys.exit("semiseg: no such data")
if seed == 4:
    print("waiting", file=sys.stderr, flush=True)
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        sys.exit(130)
folder.mkdir(parents=True, exist_ok=True)
score = 0.5 - abs(float(typed.get("pseudo_label.threshold", 0.65)) - 0.7)
parameters = 1000 * int(typed.get("model.aspp_channels", 1))
(folder / "summary.json").write_text(json.dumps(
    {"status": "finished", "best_val_miou": score, "parameters": parameters, "typed": sys.argv[1:]}
))
"""


@pytest.fixture(autouse=True)
def private_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Hydra's state, the arguments, the environment and the working directory are as before afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["semiseg"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    state = Singleton.get_state()
    GlobalHydra.instance().clear()
    yield
    Singleton.set_state(state)


@pytest.fixture
def training() -> str:
    """The stand-in's program."""
    return TRAINING


@pytest.fixture
def quick_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs run the stand-in."""

    def command(verb: str, overrides: list[str], run_dir: str, flags: tuple[str, ...] = ()) -> list[str]:
        return [sys.executable, "-S", "-c", TRAINING, *overrides, run_dir]

    monkeypatch.setattr("semiseg.sweep.launcher.command_line", command)


class Place:
    """Where commands are typed and their only sweep is looked at."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def train(self, *overrides: str) -> int:
        """The exit status of `semiseg train -m` with these overrides."""
        return run_verb("train", ["-m", *overrides])

    @property
    def sweep(self) -> Path:
        (folder,) = (file.parent for file in (self.path / "runs" / "multirun").glob("*/sweep.json"))
        return folder

    def jobs(self) -> list[dict[str, Any]]:
        return json.loads((self.sweep / "sweep.json").read_text(encoding="utf-8"))["jobs"]

    def statuses(self) -> list[str]:
        return [job["status"] for job in self.jobs()]

    def started(self) -> list[list[str]]:
        """A line a start: the job, its GPU, and whether it was resumed."""
        return [line.split() for line in (self.sweep / "order.txt").read_text().splitlines()]


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def shown(capfd: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """Everything printed so far."""

    def read() -> str:
        captured = capfd.readouterr()
        return captured.out + captured.err

    return read
