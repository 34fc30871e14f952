"""Trainings are killed at random moments, again and again, and end with the very bits of one that nobody touched.

The short form makes 21 kills, of thin networks; SEMISEG_FAULTS=long makes 201, of whole ones, and says how many struck
what.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from tests.end_to_end.conftest import RunFiles
from tests.end_to_end.test_resume import assert_same, trained_state
from tests.faults.conftest import LONG, Training, Yard, until

from semiseg.checkpoint_names import full_checkpoints
from semiseg.tracking.local import read_metrics

pytestmark = pytest.mark.skipif(os.name != "posix", reason="Windows ends processes without signals")

KILLS = 67 if LONG else 7  # of each system
LENGTH = ("trainer.max_steps=9", "trainer.eval_every=3", "trainer.save_every=4", "trainer.save_latest_every=2",
          "trainer.keep_last=1", "pseudo_label.start_step=2", "optim.lr=0.01", "model.encoder=resnet18")  # fmt: skip
SYSTEMS = {
    "v1": ("model=v1", *LENGTH),
    "v2": ("model=v2", "optim.warmup_steps=2", *LENGTH),
    "v3": ("model=v3", "optim.warmup_steps=2", "trainer.early_stop_patience=9", *LENGTH),
}
FIGURES = ("status", "steps", "total_steps", "best_val_miou", "best_step", "final_val_miou", "class_iou", "gap",
           "train_miou", "st_pixels", "st_coverage", "st_precision", "skipped_files", "findings", "parameters",
           "pools", "data_fingerprint")  # fmt: skip
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
TRACKED = ("tracking=mlflow",)


class Reaper:
    """Strikes trainings at moments drawn from a seed, and counts what it struck."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.struck: Counter[str] = Counter()

    def strike(self, training: Training, run: RunFiles) -> bool:
        """Kill one in its start, its steps or its writing; False where it ended before."""
        moment = self.random.choice(("start", "steps", "steps", "writing", "writing"))
        if not getattr(self, f"_{moment}")(training, run):
            return False
        number = self.random.choice(SIGNALS)
        training.send(number)
        if number == signal.SIGINT and self.random.random() < 0.3:
            time.sleep(self.random.uniform(0, 0.2))
            training.send(number)  # the impatient
        status = training.wait()
        if status == 0:
            return False
        assert status in {-number, 128 + number} | ({1, 130, -2} if number == signal.SIGINT else set()), training.said()
        self.struck[f"{signal.Signals(number).name} in {moment}"] += 1
        if status == 128 + signal.SIGTERM:
            assert "Stopped at iteration" in training.said() and "resume=true" in training.said()
            assert json.loads((run.path / "summary.json").read_text())["status"] == "interrupted"
        return True

    def _start(self, training: Training, run: RunFiles) -> bool:
        time.sleep(self.random.uniform(0, 2))
        return training.running

    def _steps(self, training: Training, run: RunFiles) -> bool:
        metrics, more = run.path / "metrics.jsonl", self.random.randint(1, 4)
        if not until(lambda: "Training" in training.said() or has_logged(training), training):
            return False
        lines = len(read_metrics(metrics))
        begun = until(lambda: len(read_metrics(metrics)) >= lines + more, training)
        time.sleep(self.random.uniform(0, 0.3))
        return begun and training.running

    def _writing(self, training: Training, run: RunFiles) -> bool:
        for _ in range(self.random.randint(1, 3)):
            if not until(lambda: any((run.path / "checkpoints").glob("*.tmp")), training):
                return False
        time.sleep(self.random.uniform(0, 0.05))
        return training.running


def has_logged(training: Training) -> bool:
    """Whether it is past its start: the first step, or the words that it continues."""
    said = training.said()
    return "Continuing from" in said or "iter" in said.lower()


def again(run: RunFiles, name: str, typed: list[str]) -> list[str]:
    """The command that goes on, whatever the last one left."""
    return ["resume=true", f"name={name}"] if full_checkpoints(run.path / "checkpoints") else typed


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_run_killed_again_and_again_ends_as_if_never_touched(yard: Yard, system: str) -> None:
    whole = yard.start(*yard.typed("name=whole", *SYSTEMS[system], *TRACKED))
    assert whole.wait() == 0, whole.said()
    expected, reaper, chain = yard.run("whole"), Reaper(seed=len(system) + ord(system[-1])), 0
    while reaper.struck.total() < KILLS:
        chain += 1
        name = f"killed-{chain}"
        typed = yard.typed(f"name={name}", *SYSTEMS[system], *TRACKED)
        ended = chain_of_kills(yard, name, typed, reaper)
        assert_as_undisturbed(yard.run(name), expected, ended.said())
        shutil.rmtree(yard.run(name).path)
    print(f"\n{system}: {reaper.struck.total()} kills in {chain} trainings survived: {dict(reaper.struck)}")


def chain_of_kills(yard: Yard, name: str, typed: list[str], reaper: Reaper) -> Training:
    """One training, killed and continued until it ends; the last process."""
    run = yard.run(name)
    while True:
        training = yard.start(*again(run, name, typed))
        if reaper.struck.total() >= KILLS or not reaper.strike(training, run):
            assert training.wait() == 0, training.said()
            return training


def assert_as_undisturbed(run: RunFiles, expected: RunFiles, said: str) -> None:
    """Weights, checkpoints, metrics, summary and the tracker's copy are those of the run that nobody touched."""
    assert run.names() == expected.names(), said
    for name in expected.names() - {"latest_checkpoint.pth"}:
        if not name.startswith("checkpoint_"):
            assert_same(run.load(name), expected.load(name), name)
    assert_same(trained_state(run), trained_state(expected), "latest_checkpoint")
    assert run.metrics() == expected.metrics()
    assert {key: run.summary()[key] for key in FIGURES} == {key: expected.summary()[key] for key in FIGURES}
    left_over = (".lock", ".owner.json", ".part")
    assert not [path for path in run.path.iterdir() if path.name.endswith(left_over)]
    assert_tracked_once(run)


def assert_tracked_once(run: RunFiles) -> None:
    """One MLflow run of this folder, with every value of metrics.jsonl once."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{(run.path.parents[1] / 'mlflow.db').as_posix()}")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    mine = f"tags.run_folder = '{run.path.resolve()}'"
    (tracked,) = client.search_runs(experiments, filter_string=mine)
    assert tracked.info.status == "FINISHED"
    history = client.get_metric_history(tracked.info.run_id, "loss/ce")
    logged = [line["step"] for line in run.metrics() if "loss/ce" in line]
    assert [entry.step for entry in sorted(history, key=lambda entry: entry.step)] == logged


def heed_interrupts() -> None:
    """pytest-xdist's workers ignore Ctrl-C, which a child would inherit."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_train_py_ends_cleanly_on_request(yard: Yard, number: signal.Signals) -> None:
    """As typed: a process of its own, from the imports on."""
    long = ("trainer.max_steps=1000", "trainer.save_latest_every=1000")
    typed = yard.typed("name=asked", "model=lightweight", "trainer.num_workers=2", *long)
    train_py = Path(__file__).parents[2] / "train.py"
    process = subprocess.Popen(
        [sys.executable, str(train_py), *typed], cwd=yard.path, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=True, preexec_fn=heed_interrupts,
    )  # fmt: skip
    run = yard.run("asked")
    while len(read_metrics(run.path / "metrics.jsonl")) < 3 and process.poll() is None:
        time.sleep(0.05)
    os.killpg(process.pid, number)  # as a terminal and a scheduler do: the loader's processes too
    out, error = process.communicate(timeout=300)
    assert process.returncode == 128 + number, error
    assert error.strip() == "Stopping after this step, with a checkpoint. Ctrl-C again stops at once."
    step = run.load()["iteration"]
    assert f"Stopped at iteration {step}. Continue from the newest checkpoint with: semiseg train resume=true" in out
    assert run.summary()["status"] == "interrupted" and run.summary()["steps"] == step
    assert run.metrics()[-1]["step"] == step


def test_a_sweep_that_is_asked_to_end_stops_its_jobs_with_checkpoints_and_goes_on(yard: Yard) -> None:
    """One job runs, one waits: the first continues at its step, the second starts anew."""
    steps = ("trainer.max_steps=30", "trainer.save_latest_every=1000", "trainer.eval_every=30")
    typed = ["-m", *yard.typed("seed=0,1", "model=lightweight", *steps)]
    sweep = yard.start(*typed)
    multirun = yard.path / "runs" / "multirun"
    assert until(lambda: any(len(read_metrics(file)) >= 3 for file in multirun.glob("*/0/metrics.jsonl")), sweep)
    sweep.send(signal.SIGTERM)
    assert sweep.wait() in (130, 143), sweep.said()
    (folder,) = (file.parent for file in multirun.glob("*/sweep.json"))
    first = RunFiles(folder / "0")
    assert job_statuses(folder) == ["interrupted", "waiting"], sweep.said()
    assert first.summary()["status"] == "interrupted" and first.load()["iteration"] == first.summary()["steps"] < 30

    again = yard.start(*typed, "resume=true")
    assert again.wait() == 0, again.said()
    assert job_statuses(folder) == ["finished", "finished"]
    for name in ("0", "1"):
        logged = [line["step"] for line in RunFiles(folder / name).metrics() if "lr/student" in line]
        assert logged == list(range(1, 31))


def job_statuses(folder: Path) -> list[str]:
    """What sweep.json says became of each job."""
    return [job["status"] for job in json.loads((folder / "sweep.json").read_text(encoding="utf-8"))["jobs"]]
