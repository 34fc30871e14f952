"""sweep.json holds what a sweep is continued from."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from semiseg.errors import ConfigError
from semiseg.sweep.record import Sweep, comparable, continued, newest


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    """A sweep of two jobs, saved."""
    sweep = Sweep(tmp_path / "sweep", "python train.py -m seed=0,1", ["seed=0,1"])
    sweep.add(["model=v1", "seed=0"], ["seed=0"])
    sweep.add(["model=v1", "seed=1"], ["seed=1"])
    sweep.save()
    return sweep


def leave(folder: Path, **summary: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "summary.json").write_text(json.dumps(summary))


def test_record_is_read_as_it_was_written(sweep: Sweep) -> None:
    assert Sweep.read(sweep.path) == sweep
    assert [job.name for job in sweep.jobs] == ["seed=0", "seed=1"]
    row = json.loads((sweep.path / "sweep.json").read_text())["jobs"][1]
    assert row["number"] == 1 and row["folder"] == "1" and row["best_val_miou"] is None and row["error"] is None


def test_keys_of_a_later_version_do_no_harm(sweep: Sweep) -> None:
    file = sweep.path / "sweep.json"
    data = json.loads(file.read_text())
    data["jobs"][0]["colour"] = "red"
    file.write_text(json.dumps(data))
    assert Sweep.read(sweep.path) == sweep


@pytest.mark.parametrize("text", ["", "[]", '{"jobs": []}', '{"command": "", "overrides": [], "jobs": [1]}'])
def test_a_file_that_is_no_record_is_named(sweep: Sweep, text: str) -> None:
    (sweep.path / "sweep.json").write_text(text)
    with pytest.raises(ConfigError, match=r"sweep\.json is no record of a sweep"):
        Sweep.read(sweep.path)


def test_a_job_continued_alone_is_taken_over(sweep: Sweep) -> None:
    job = sweep.jobs[0]
    job.status, job.error = "failed", "out of memory"
    leave(sweep.path / "0", status="finished", best_val_miou=0.5, train_seconds=7.5)
    sweep.refresh(job)
    assert (job.status, job.error, job.best_val_miou, job.seconds) == ("finished", None, 0.5, 7.5)


def test_a_done_job_whose_folder_was_deleted_waits_again(sweep: Sweep) -> None:
    job = sweep.jobs[0]
    job.status, job.best_val_miou = "finished", 0.5
    sweep.refresh(job)
    assert (job.status, job.best_val_miou) == ("waiting", None)


def test_a_job_with_a_checkpoint_goes_on_and_one_without_starts_anew(sweep: Sweep) -> None:
    for number in (0, 1):
        leave(sweep.path / str(number), status="interrupted")
    (sweep.path / "0" / "checkpoints").mkdir()
    (sweep.path / "0" / "checkpoints" / "latest_checkpoint.pth").touch()
    assert sweep.make_ready(sweep.jobs[0]) and (sweep.path / "0" / "summary.json").exists()
    assert not sweep.make_ready(sweep.jobs[1]) and not (sweep.path / "1").exists()


def test_a_job_that_still_runs_is_not_started_twice(sweep: Sweep) -> None:
    folder = sweep.path / "0"
    word = f"hydra.run.dir={folder.as_posix()}"
    command = [sys.executable, "-S", "-c", "print(flush=True); input()", word]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()  # it has started
        sweep.jobs[0].pid = process.pid
        with pytest.raises(ConfigError, match=rf"still runs as process {process.pid}"):
            sweep.make_ready(sweep.jobs[0])
        process.communicate(b"\n")
    sweep.jobs[0].pid = os.getpid()  # the number is used again, by another program
    assert sweep.make_ready(sweep.jobs[0]) is False


def test_a_folder_that_a_training_elsewhere_holds_is_not_removed(sweep: Sweep) -> None:
    folder = sweep.path / "0"
    leave(folder, status="interrupted")
    code = f"""
from pathlib import Path
from semiseg.run_lock import RunLock
lock = RunLock(Path({str(folder)!r}))
lock.acquire()
print(flush=True)
input()
"""
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(ConfigError, match=rf"is being written by process {process.pid} on"):
            sweep.make_ready(sweep.jobs[0])
        assert (folder / "summary.json").is_file()
        process.communicate(b"\n")
    assert not sweep.make_ready(sweep.jobs[0]) and not folder.exists()


def test_the_newest_sweep_of_a_command_is_found(sweep: Sweep, tmp_path: Path) -> None:
    other = Sweep(tmp_path / "other", "python train.py -m seed=5,6", ["seed=5,6"])
    again = Sweep(tmp_path / "again", sweep.command, sweep.overrides)
    for age, each in enumerate([other, again, sweep]):
        each.save()
        os.utime(each.path / "sweep.json", (1000 - age, 1000 - age))
    assert newest(tmp_path, ["seed=0,1"]).path == again.path
    assert newest(tmp_path, ["resume=true", "hydra.launcher.n_jobs=4", "seed=0,1"]).path == again.path
    with pytest.raises(ConfigError, match=r"(?s)no sweep in .*Leave out resume=true.*\n  python train\.py -m seed=5,6"):
        newest(tmp_path, ["seed=0,1,2"])
    (other.path / "sweep.json").write_text("")
    assert newest(tmp_path, ["seed=0,1"]).path == again.path
    with pytest.raises(ConfigError, match=r"(?s)no sweep in .*other/sweep\.json is no record of a sweep"):
        newest(tmp_path, ["seed=5,6"])


def test_a_sweep_that_is_named_is_the_one_that_goes_on(sweep: Sweep, tmp_path: Path) -> None:
    Sweep(tmp_path / "later", sweep.command, sweep.overrides).save()
    typed = [*sweep.overrides, f"hydra.sweep.dir={sweep.path.as_posix()}"]
    assert continued(sweep.path, typed).path == sweep.path
    assert continued(tmp_path / "of-this-minute", sweep.overrides).path == tmp_path / "later"
    with pytest.raises(ConfigError, match=r"(?s)was started with other overrides:.*seed=0,1$"):
        continued(sweep.path, [*typed, "model=v2"])
    with pytest.raises(ConfigError, match="mistyped holds no sweep"):
        continued(tmp_path / "mistyped", typed)


def test_commands_are_the_same_in_another_order_or_with_another_launcher() -> None:
    one = comparable(["model=v1,v2", "seed=0", "hydra/launcher=submitit_slurm", "hydra.launcher.timeout_min=60"])
    assert one == comparable(["seed=0", "model=v1,v2", "resume=true"])
    assert comparable(["hydra.sweeper.n_trials=20"]) == comparable(["hydra.sweeper.n_trials=40"])
    assert comparable(["hydra.sweeper.seed=1"]) != comparable([])
