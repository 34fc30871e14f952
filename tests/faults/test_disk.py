"""Full disks, folders in use, and files that are there no longer than they must."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.end_to_end.conftest import RunFiles, Workplace, plant, workplace
from tests.end_to_end.test_resume import assert_same, trained_state
from tests.faults.conftest import Yard, until

from semiseg.checkpoint_names import numbered

SIZABLE = "model=lightweight"
GROWING = ("trainer.max_steps=6", "trainer.eval_every=3", "trainer.save_every=1", "trainer.save_latest_every=1")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Workplace]:
    plant(tmp_path / "planted")
    with workplace(tmp_path / "place", tmp_path / "planted") as place:
        yield place


class Disk:
    """A file system of its own with so many mebibytes."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def mount(self, *options: str) -> None:
        """Raises OSError or CalledProcessError where that is not allowed."""
        command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(self.path)]
        subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    disk = Disk(tmp_path / "disk")
    disk.path.mkdir()
    try:
        disk.mount("size=160m")
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no small file system can be mounted here: {error}")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk.path)], check=True)


def test_a_full_disk_keeps_the_checkpoint_before_and_the_run_goes_on_once_there_is_room(
    place: Workplace, disk: Disk, capfd: pytest.CaptureFixture[str]
) -> None:
    assert place.train_small("name=whole", SIZABLE, *GROWING) == 0
    capfd.readouterr()
    output = f"output={disk.path.as_posix()}"
    assert place.train_small("name=run", output, SIZABLE, *GROWING) == 1
    shown = capfd.readouterr()
    run = RunFiles(disk.path / "semiseg" / "run")
    assert "may take" in shown.out and "trainer.keep_last=2" in shown.out  # it was warned of
    assert shown.err.startswith("semiseg: Could not write ") and shown.err.count("\n") == 1
    assert "No space left on device. Earlier checkpoints are intact. Free space" in shown.err
    assert 1 <= run.load()["iteration"] < 6 and not list(run.path.rglob("*.tmp"))

    disk.mount("remount", "size=800m")
    assert place.command("resume=true", "name=run", output) == 0
    expected = place.run("whole")
    assert_same(trained_state(run), trained_state(expected), "latest_checkpoint")
    assert run.metrics() == expected.metrics() and run.names() == expected.names()


def test_a_disk_that_is_too_small_for_one_checkpoint_is_found_before_the_first_step(
    place: Workplace, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = SimpleNamespace(total=10**9, used=10**9 - 2**20, free=2**20)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    assert place.train_small("name=run", SIZABLE) == 1
    error = capfd.readouterr().err
    assert "a checkpoint takes" in error and "1 MiB are free" in error and "output=PATH" in error
    assert not place.run("run").path.exists()


@pytest.mark.skipif(os.name != "posix", reason="Windows mounts no file system for reading alone this way")
def test_a_file_system_for_reading_alone_is_found_before_the_first_step(
    place: Workplace, disk: Disk, capfd: pytest.CaptureFixture[str]
) -> None:
    disk.mount("remount", "ro")
    assert place.train_small("name=run", f"output={disk.path.as_posix()}") == 1
    error = capfd.readouterr().err
    assert error.count("\n") == 1 and "Read-only file system" in error and "output=PATH" in error


def test_keep_last_keeps_the_newest_alone(place: Workplace) -> None:
    assert place.train_small("name=run", "trainer.keep_last=2", *GROWING) == 0
    assert [path.name for path in numbered(place.run("run").path / "checkpoints")] == [
        "checkpoint_6.pth",
        "checkpoint_5.pth",
    ]


def test_an_old_checkpoint_that_cannot_be_removed_ends_no_run(place: Workplace, monkeypatch) -> None:
    """As on Windows while another program reads it. It goes with the next one."""
    unlink, refused = Path.unlink, []

    def refuse_once(path: Path, missing_ok: bool = False) -> None:
        if path.name == "checkpoint_1.pth" and not refused:
            refused.append(path)
            raise PermissionError(13, "used by another process")
        unlink(path, missing_ok)

    monkeypatch.setattr(Path, "unlink", refuse_once)
    assert place.train_small("name=run", "trainer.keep_last=2", *GROWING) == 0
    assert refused and len(numbered(place.run("run").path / "checkpoints")) == 2


@pytest.mark.skipif(os.name != "posix", reason="Windows ends processes without signals")
def test_two_processes_cannot_write_one_folder(yard: Yard) -> None:
    """The second is told who has it; once that one is killed, the next takes it over."""
    typed = yard.typed("name=run", "model=lightweight", "trainer.max_steps=1000", "trainer.save_latest_every=1")
    first = yard.start(*typed)
    run = yard.run("run")
    latest = run.path / "checkpoints" / "latest_checkpoint.pth"
    assert until(latest.is_file, first), first.said()
    for again in (typed, ["resume=true", "name=run"]):
        second = yard.start(*again)
        assert second.wait() == 1
        owner = f"is being written by process {first.process.pid} on "
        assert owner in second.said() and f"kill -INT {first.process.pid}" in second.said(), second.said()
    assert first.running
    first.send(signal.SIGKILL)
    first.wait()
    assert (run.path / ".owner.json").is_file()
    third = yard.start("resume=true", "name=run", "trainer.max_steps=1", "trainer.save_latest_every=1")
    third.wait()
    assert "Continuing from" in third.said() or "iterations behind it" in third.said(), third.said()
    assert not (run.path / ".owner.json").exists() and not (run.path / ".lock").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends processes without signals")
def test_a_lock_that_loader_processes_of_a_killed_training_still_hold_is_waited_for(yard: Yard) -> None:
    typed = yard.typed("name=run", "model=lightweight", "trainer.num_workers=2", "trainer.max_steps=1000",
                       "trainer.save_latest_every=1")  # fmt: skip
    first = yard.start(*typed)
    latest = yard.run("run").path / "checkpoints" / "latest_checkpoint.pth"
    assert until(latest.is_file, first), first.said()
    first.send(signal.SIGKILL)
    first.wait()
    step = yard.run("run").load()["iteration"]
    second = yard.start("resume=true", "name=run", f"trainer.max_steps={step + 1}", "trainer.num_workers=0")
    assert second.wait() == 0, second.said()
