"""`semiseg train -m` from the command to the table, with a stand-in for the training."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from semiseg.run_lock import RunLock
from semiseg.sweep.process import JobProcess
from semiseg.sweep.record import Sweep

posix = pytest.mark.skipif(os.name != "posix", reason="Windows has no signals to end a process with")
pytestmark = pytest.mark.usefixtures("quick_jobs")


def test_every_job_has_a_folder_and_a_row(place, shown: Callable[[], str]) -> None:
    assert place.train("model=v1,v2", "seed=5,6", "tracking=none") == 0
    jobs = place.jobs()
    assert [job["number"] for job in jobs] == [0, 1, 2, 3]
    assert [job["varied"] for job in jobs][:2] == [["model=v1", "seed=5"], ["model=v1", "seed=6"]]
    assert {job["status"] for job in jobs} == {"finished"} and {job["error"] for job in jobs} == {None}
    typed = json.loads((place.sweep / jobs[3]["folder"] / "summary.json").read_text())["typed"]
    assert typed == ["model=v2", "seed=6", "tracking=none", f"hydra.run.dir=runs/multirun/{place.sweep.name}/3"]
    text = shown()
    assert "Job 2 starts: model=v2 seed=5" in text
    assert f"Next: semiseg compare runs=runs/multirun/{place.sweep.name}" in text
    record = json.loads((place.sweep / "sweep.json").read_text())
    assert record["command"] == "semiseg train -m model=v1,v2 seed=5,6 tracking=none"


@posix
def test_a_job_that_fails_is_told_of_and_the_others_run(place, shown: Callable[[], str]) -> None:
    assert place.train("seed=1,2,3,5", "hydra.launcher.n_jobs=2") == 1
    assert place.statuses() == ["failed", "failed", "failed", "finished"]
    errors = [job["error"] for job in place.jobs()]
    assert errors[0].startswith("RuntimeError: CUDA out of memory (more in ")
    assert "killed by SIGKILL" in errors[1]
    assert errors[2] == "no such data"
    text = shown()
    assert all(f"failed: {error}" in text for error in errors[:3])
    assert "3 of 4 jobs did not finish." in text and "'seed=1,2,3,5'" not in text
    assert text.rstrip().endswith("semiseg train -m seed=1,2,3,5 hydra.launcher.n_jobs=2 resume=true")
    assert "Traceback" in (place.sweep / "0_error.txt").read_text()


@posix
def test_a_sweep_is_continued_where_it_ended(place, shown: Callable[[], str]) -> None:
    place.train("seed=5,1,3,6")
    assert place.statuses() == ["finished", "failed", "failed", "finished"]
    (place.sweep / "1_error.txt").unlink()
    assert place.train("seed=5,1,3,6", "resume=true", "hydra.launcher.n_jobs=2") == 1
    assert place.statuses() == ["finished", "finished", "failed", "finished"]  # seed 3 is refused again
    # The first and the last are not run again; that with a checkpoint is resumed, that without starts anew.
    again = sorted(place.started()[4:])
    assert again == [["1", "-", "resumed"], ["2", "-"]]
    assert "4 jobs, 2 of them done" in shown()
    assert place.jobs()[1]["error"] is None


def test_a_finished_sweep_that_is_continued_runs_nothing(place) -> None:
    assert place.train("seed=5,6") == 0
    assert place.train("seed=5,6", "resume=true") == 0
    assert len(place.started()) == 2


def test_another_command_is_not_continued(place, shown: Callable[[], str]) -> None:
    place.train("seed=5,6")
    assert place.train("seed=5,6", "model=v1", "resume=true") == 1
    said = shown().replace(os.sep, "/")
    assert "no sweep in runs/multirun was started with these overrides" in said
    assert "\n  semiseg train -m seed=5,6\n" in said


def test_a_folder_with_a_sweep_is_not_used_for_another(place, shown: Callable[[], str]) -> None:
    assert place.train("seed=5", "hydra.sweep.dir=mine/first") == 0
    assert place.train("seed=6", "hydra.sweep.dir=mine/first") == 1
    assert "holds a sweep already. Continue it with resume=true" in shown()
    assert place.train("seed=5", "hydra.sweep.dir=mine/first", "resume=true") == 0


def test_two_commands_do_not_work_on_one_sweep(place, shown: Callable[[], str]) -> None:
    assert place.train("seed=5") == 0
    other = RunLock(place.sweep)
    other.acquire()
    assert place.train("seed=5", "resume=true") == 1
    assert f"is being written by process {os.getpid()} on" in shown()
    other.release()
    assert place.train("seed=5", "resume=true") == 0
    assert not list(place.sweep.glob(".*"))


def test_a_job_that_cannot_be_noted_down_is_not_left_running(place, monkeypatch: pytest.MonkeyPatch) -> None:
    save, started = Sweep.save, []

    class Noted(JobProcess):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            started.append(self)

    def full(sweep: Sweep) -> None:
        if any(job.status == "running" for job in sweep.jobs):
            raise OSError(errno.ENOSPC, "No space left on device")
        save(sweep)

    monkeypatch.setattr("semiseg.sweep.launcher.JobProcess", Noted)
    monkeypatch.setattr(Sweep, "save", full)
    assert place.train("seed=4") == 1
    assert len(started) == 1 and started[0].poll() is not None


def test_a_misspelt_value_costs_its_own_job_alone_and_no_process(place, shown: Callable[[], str]) -> None:
    assert place.train("loss=ce,focl", "trainer.max_steps=1") == 1
    assert place.statuses() == ["finished", "failed"]
    assert "there is no conf/loss/focl.yaml. Did you mean focal" in place.jobs()[1]["error"]
    assert [row[0] for row in place.started()] == ["0"]


def test_paths_with_blanks_and_quotes_reach_the_job(place) -> None:
    assert place.train("seed=5", "output='my runs'") == 0
    (file,) = (place.path / "my runs" / "multirun").glob("*/0/summary.json")
    assert json.loads(file.read_text())["typed"] == [
        "seed=5",
        "output='my runs'",
        f"hydra.run.dir='my runs/multirun/{file.parents[1].name}/0'",
    ]


def test_recipes_of_another_folder_are_found_by_the_jobs(place, training: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (place.path / "recipes" / "loss").mkdir(parents=True)
    (place.path / "recipes" / "loss" / "own.yaml").write_text("defaults: [ce]\nce_weight: 0.5\n")
    commands = []

    def command(verb: str, overrides: list[str], run_dir: str, flags: list[str]) -> list[str]:
        commands.append(flags)
        return [sys.executable, "-S", "-c", training, *overrides, run_dir]

    monkeypatch.setattr("semiseg.sweep.launcher.command_line", command)
    assert place.train("--config-dir=recipes", "loss=own,ce") == 0
    assert len(commands) == 2 and all(flags[0].startswith("--config-dir=") for flags in commands)
    assert "recipes" in json.loads((place.sweep / "sweep.json").read_text())["command"]


@pytest.mark.parametrize(("word", "count"), [("seeds", 3), ("ladder", 9), ("thresholds", 7)])
def test_words_for_sweeps(place, word: str, count: int) -> None:
    place.train(f"+sweep={word}", "data=dubai", "hydra.launcher.n_jobs=4")
    jobs = place.jobs()
    assert len(jobs) == count and "waiting" not in place.statuses()
    assert not any("sweep" in override for job in jobs for override in job["overrides"])
    assert len({tuple(job["varied"]) for job in jobs}) == count


def test_a_word_and_typed_values_are_combined(place) -> None:
    assert place.train("+sweep=[seeds,thresholds]", "seed=7", "data=dubai") == 0
    assert len(place.jobs()) == 7 and all("seed=7" in job["overrides"] for job in place.jobs())


STOPPED = """
import sys
import semiseg.sweep.launcher as launcher
from semiseg.cli import run_verb
training = sys.argv.pop()
python = [sys.executable, "-S", "-c", training]
launcher.command_line = lambda verb, overrides, run_dir, flags: [*python, *overrides, run_dir]
sys.exit(run_verb("train", ["-m", "seed=4,0,7"]))
"""


@posix
@pytest.mark.parametrize("request_to_end", ["SIGINT", "SIGTERM"])
def test_an_interrupted_sweep_stops_its_job_and_says_how_to_continue(place, training: str, request_to_end: str) -> None:
    import signal

    process = subprocess.Popen(
        [sys.executable, "-c", STOPPED, training], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    assert process.stderr.readline() == "waiting\n"  # the job's own console
    process.send_signal(getattr(signal, request_to_end))
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert place.statuses() == ["interrupted", "waiting", "waiting"]
    assert "Stopped: 0 of 3 jobs are done. Continue with: semiseg train -m seed=4,0,7 resume=true" in out
    assert place.train("seed=4,0,7", "resume=true") == 0
    assert place.statuses() == ["finished"] * 3
    assert [row[0] for row in place.started()] == ["0", "0", "1", "2"]


def test_a_sweep_needs_m(capsys: pytest.CaptureFixture[str]) -> None:
    from semiseg.cli import run_verb

    assert run_verb("train", ["+sweep=ladder"]) == 1
    assert capsys.readouterr().err == "semiseg: +sweep=ladder starts several runs: add -m.\n"


@pytest.mark.parametrize(
    ("overrides", "part"),
    [
        (["+sweep=laddr"], "sweep=laddr: there is no conf/sweep/laddr.yaml. Did you mean ladder?"),
        (["sweep=ladder"], "it is added with a plus, +sweep=WORD. Valid: ladder,"),
        (["+sweep=seeds,ladder"], "or every combination of several with +sweep=[seeds,ladder]"),
        (["hydra.launcher.n_job=2"], "hydra.launcher has no key 'n_job'. Did you mean n_jobs?"),
        (["hydra.launcher.n_jobs=two"], "hydra.launcher.n_jobs is 'two'; it must be a whole number"),
        (["hydra.launcher.n_jobs=0"], "hydra.launcher.n_jobs is 0; it must be 1 or more."),
        (["hydra/launcher=locl"], "hydra/launcher=locl: there is no conf/hydra/launcher/locl.yaml. Did you mean local"),
        (["hydra/sweeper=optun"], "Did you mean optuna?"),
        (["+sweep=optuna_thresholds", "hydra.sweeper.n_trial=3"], "has no key 'n_trial'. Did you mean n_trials?"),
        (["resume=perhaps"], "resume is 'perhaps'; it must be true or false."),
        (["seed=interval(0,3)"], "an interval needs hydra/sweeper=optuna"),
    ],
)
def test_mistakes_start_nothing(place, shown: Callable[[], str], overrides: list[str], part: str) -> None:
    assert place.train(*overrides) == 1
    text = shown()
    assert part in text and text.startswith("semiseg: ") and text.count("\n") == 1
    assert list(Path.cwd().iterdir()) == []
