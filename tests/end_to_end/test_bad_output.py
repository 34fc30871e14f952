"""Folders that cannot be written, full disks, and checkpoints that cannot be used."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path

import pytest
import torch


def test_a_file_in_the_place_of_the_output_folder(place, refused):
    (place.path / "taken").write_text("mine", encoding="utf-8")
    refused(place.train_small("output=taken"), "taken", "output=PATH")
    assert (place.path / "taken").read_text(encoding="utf-8") == "mine"


def test_a_read_only_output_folder(place, refused, monkeypatch: pytest.MonkeyPatch):
    """Raised as a read-only file system raises it: removed permissions would not stop an administrator."""
    make = Path.mkdir

    def mkdir(self: Path, *args, **options) -> None:
        if "readonly" in self.parts:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(self))
        make(self, *args, **options)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    refused(place.train_small("output=readonly", "name=run"), "readonly", os.strerror(errno.EROFS), "output=PATH")


@pytest.fixture
def full_from_step(monkeypatch: pytest.MonkeyPatch):
    """Make the disk full for checkpoints of more than this many finished steps."""
    from semiseg.engine.engine import Engine

    save, sync = Engine._save, os.fsync

    def fill(step: int) -> None:
        def no_space(descriptor: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def saving(self: Engine, *args) -> None:
            self.checkpoints.close()  # what is still being written has room
            monkeypatch.setattr(os, "fsync", no_space if self.step > step else sync)
            save(self, *args)

        monkeypatch.setattr(Engine, "_save", saving)

    return fill


def test_a_full_disk_leaves_the_checkpoint_before_it(place, refused, full_from_step, monkeypatch):
    typed = ("name=run", "trainer.max_steps=3", "trainer.save_latest_every=1", "trainer.save_every=1")
    with monkeypatch.context():
        full_from_step(2)
        status = place.train_small(*typed)
    run = place.run("run")
    refused(status, str(run.path / "checkpoints" / "checkpoint_3.pth"), "No space left", "Free space", "resume=true")
    assert run.load()["iteration"] == 2
    assert run.load("checkpoint_2.pth")["iteration"] == 2
    assert not list(run.path.rglob("*.tmp"))
    assert run.summary()["status"] == "failed"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on the size of a file")
def test_a_write_that_breaks_off_leaves_the_checkpoint_before_it(place, refused):
    """A limit on the size of files breaks the write in its middle, as a full disk does."""
    import resource

    assert place.train_small("model=lightweight", "name=done") == 0
    run = place.run("done")
    before = run.contents()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
    try:
        status = place.command("resume=true", "name=done", "trainer.max_steps=3", "trainer.eval_every=5")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    refused(status, "Could not write", str(run.path / "checkpoints"), "Earlier checkpoints are intact")
    after = run.contents()
    assert {name: after[name] for name in before if name.endswith(".pth")} == {
        name: content for name, content in before.items() if name.endswith(".pth")
    }
    assert place.command("resume=true", "name=done", "trainer.max_steps=3") == 0


def test_a_full_disk_at_the_start(place, refused, monkeypatch: pytest.MonkeyPatch):
    """What no file is named for is reported with the run's folder."""

    def no_space(path: Path, text: str, durable: bool = False) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("semiseg.run_folder.write_text", no_space)
    refused(place.train_small("name=run"), str(place.run("run").path), "No space left", "output=PATH")


@pytest.mark.parametrize("content", ["truncated", "garbage", "empty", "flipped"])
def test_a_damaged_checkpoint_to_start_from(finished, refused, content: str):
    """It is named, with the one to use instead, and nothing is overwritten. (A resumption falls back by itself.)"""
    place, run = finished
    latest = run.path / "checkpoints" / "latest_checkpoint.pth"
    whole = latest.read_bytes()
    latest.rename(latest.with_name("checkpoint_2.pth"))
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :]
    latest.write_bytes(
        {"truncated": whole[:middle], "garbage": b"no weights" * 99, "empty": b"", "flipped": flipped}[content]
    )
    before = run.contents()
    status = place.train_small("name=other", f"restore_from={latest.as_posix()}")
    refused(status, latest.name, "restore_from=", "checkpoint_2.pth")
    assert run.contents() == before


def test_a_checkpoint_of_another_model(finished, refused):
    place, run = finished
    path = run.path / "checkpoints" / "latest_checkpoint.pth"
    restore = f"restore_from={path.as_posix()}"
    small = ["model=v3", "model.encoder=resnet18"]
    refused(
        place.train("name=other", restore, "trainer.max_steps=3", *small), str(path), "another model", "Give the model"
    )
    assert not list((place.run("other").path).rglob("*.pth"))


def test_weights_of_another_model(finished, refused):
    place, run = finished
    path = run.path / "checkpoints" / "final_model.pth"
    status = place.train("name=other", f"restore_from={path.as_posix()}", "model=v3", "model.encoder=resnet18")
    refused(status, str(path))


def test_a_checkpoint_that_does_not_exist(finished, refused):
    place, _ = finished
    refused(place.train_small("name=other", "restore_from=nothing.pth"), "nothing.pth", "does not exist")


def test_a_file_that_holds_code_is_not_run(place, refused, tmp_path: Path):
    path = tmp_path / "evil.pth"
    torch.save({"iteration": 1, "model_state": Path("x")}, path)
    refused(place.train_small("name=run", f"restore_from={path.as_posix()}"), str(path), "cannot be read")
