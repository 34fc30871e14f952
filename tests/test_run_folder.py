"""The folder of a run is never shared and always writable before anything is computed."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from semiseg import run_folder
from semiseg.engine import checkpoint as files
from semiseg.errors import CheckpointError, ConfigError
from semiseg.run_folder import RunFolder, git_commit
from semiseg.sweep.record import Sweep


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "runs" / "semiseg" / "mine")


def test_new_folder_is_made_and_left_empty(folder: RunFolder) -> None:
    folder.open(resume=False)
    assert folder.checkpoints.is_dir()
    assert list(folder.checkpoints.iterdir()) == []


def test_folder_of_a_start_that_failed_is_used_again(folder: RunFolder) -> None:
    folder.open(resume=False)
    folder.open(resume=False)


@pytest.mark.parametrize(
    ("left", "way"),
    [
        ("checkpoints/latest_checkpoint.pth", "resume=true name=mine"),
        ("checkpoints/best_model.pth", "best weights are left: .*resume=true name=mine"),
        ("summary.json", "remove the folder"),
    ],
)
def test_folder_of_another_run_is_refused_with_the_ways_out(folder: RunFolder, left: str, way: str) -> None:
    folder.open(resume=False)
    (folder.path / left).touch()
    with pytest.raises(ConfigError, match=rf"holds a run already.*{way}.*name=") as caught:
        folder.open(resume=False)
    assert str(folder.path) in str(caught.value)


@pytest.mark.parametrize("status", ["interrupted", "failed"])
def test_a_run_that_was_stopped_before_it_had_anything_to_keep_is_started_anew(folder: RunFolder, status: str) -> None:
    folder.open(resume=False)
    (folder.checkpoints / "latest_model.pth").touch()
    folder.summary.write_text(json.dumps({"status": status}), encoding="utf-8")
    folder.open(resume=False)
    assert not folder.summary.exists()
    folder.summary.write_text('{"status": "finished"}', encoding="utf-8")
    with pytest.raises(ConfigError, match="holds a run already"):
        folder.open(resume=False)


def test_resumption_names_the_place_unless_it_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for path, words in {
        "runs/semiseg/mine": "resume=true name=mine",
        "runs/few/mine": "resume=true name=mine experiment_name=few",
        "out/semiseg/mine": "resume=true name=mine output=out",
        "my runs/semiseg/a": """resume=true name=a "output='my runs'\"""",
    }.items():
        assert RunFolder(tmp_path / path).resumption() == words
    elsewhere = tmp_path.parent / "else"
    assert RunFolder(elsewhere / "semiseg" / "a").resumption().endswith(f"output={elsewhere.as_posix()}")


def test_job_of_a_sweep_is_known_by_its_place_and_continues_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "runs" / "multirun" / "sweep-1" / "0"
    assert not RunFolder(path).sweep and RunFolder(path).varied() == []
    sweep = Sweep(path.parent, "", [])
    sweep.add(["model=v1", "seed=0"], ["seed=0"])
    sweep.save()
    assert RunFolder(path).sweep and RunFolder(path).varied() == ["seed=0"]
    assert RunFolder(path.with_name("1")).varied() == []
    assert RunFolder(path).resumption() == "resume=true hydra.run.dir=runs/multirun/sweep-1/0"


def test_folder_without_a_run_is_removed_and_any_other_stays(folder: RunFolder) -> None:
    folder.open(resume=False)
    (folder.path / "log.txt").touch()
    folder.discard_if_unused()
    assert not folder.path.exists()
    for kept in ("notes.md", "checkpoints/latest_checkpoint.pth"):
        folder.open(resume=False)
        (folder.path / kept).touch()
        folder.discard_if_unused()
        assert (folder.path / kept).exists()


def test_resume_needs_a_checkpoint(folder: RunFolder) -> None:
    with pytest.raises(CheckpointError, match=r"holds no checkpoint.*Leave out resume=true"):
        folder.open(resume=True)
    assert not folder.path.exists()


def test_resume_opens_the_folder_with_a_checkpoint(folder: RunFolder) -> None:
    folder.open(resume=False)
    (folder.checkpoints / "latest_checkpoint.pth").touch()
    folder.open(resume=True)


@pytest.mark.parametrize("resume", [True, False])
def test_a_folder_in_the_place_of_a_checkpoint_is_found_before_anything_is_computed(
    folder: RunFolder, resume: bool
) -> None:
    (folder.checkpoints / "latest_checkpoint.pth").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"latest_checkpoint\.pth is a folder.*Move it away"):
        folder.open(resume)


@pytest.mark.parametrize("left", [None, b"", b"\0" * 33, b"a" * 31], ids=["deleted", "empty", "zeroed", "cut"])
def test_a_lost_identity_is_taken_from_the_seals_of_the_checkpoints(folder: RunFolder, left: bytes | None) -> None:
    folder.open(resume=False)
    folder.write_config(OmegaConf.create({}), [])
    for name in ("latest_checkpoint.pth", "best_model.pth"):
        files.save({}, folder.checkpoints / name, folder.identity)
    folder.close()
    file = folder.path / ".hydra" / "identity"
    file.unlink() if left is None else file.write_bytes(left)
    again = RunFolder(folder.path)
    again.open(resume=True)
    assert again.identity == folder.identity
    assert len(again.warnings) == 1 and str(file) in again.warnings[0]
    again.close()
    files.save({}, folder.checkpoints / "best_model.pth", "a" * 32)  # of two runs: neither is chosen
    third = RunFolder(folder.path)
    third.open(resume=True)
    assert third.identity not in (folder.identity, "a" * 32) and not third.warnings


def test_file_in_the_way_is_named_with_the_remedy(folder: RunFolder) -> None:
    folder.path.parent.mkdir(parents=True)
    folder.path.write_text("")
    with pytest.raises(ConfigError, match=r"output=PATH") as caught:
        folder.open(resume=False)
    assert str(folder.path) in str(caught.value)


def test_folder_that_cannot_be_written_is_named_with_the_remedy(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Path, data: bytes) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "write_bytes", refuse)
    with pytest.raises(ConfigError, match=r"Permission denied.*output=PATH") as caught:
        folder.open(resume=False)
    assert str(folder.path) in str(caught.value)


def test_config_and_overrides_can_be_read_back(folder: RunFolder) -> None:
    folder.open(resume=False)
    config = OmegaConf.create({"model": {"name": "v3"}, "name": "${model.name}-1", "klasse": "Früchte"})
    folder.write_config(config, ["model=v3", "name='a b'"])
    hydra = folder.path / ".hydra"
    assert OmegaConf.load(hydra / "config.yaml") == {"model": {"name": "v3"}, "name": "v3-1", "klasse": "Früchte"}
    assert OmegaConf.load(hydra / "overrides.yaml") == ["model=v3", "name='a b'"]


def test_commit_is_unknown_without_git(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*args: object, **kwargs: object) -> None:
        raise FileNotFoundError("git")

    monkeypatch.setattr(run_folder.subprocess, "run", missing)
    assert git_commit() is None


@pytest.mark.parametrize(("changes", "expected"), [("", "abc123"), (" M train.py\n", "abc123+changes")])
def test_commit_tells_of_changes(monkeypatch: pytest.MonkeyPatch, changes: str, expected: str) -> None:
    def answer(command: list[str], **kwargs: object) -> subprocess.CompletedProcess:
        return subprocess.CompletedProcess(command, 0, "abc123\n" if "rev-parse" in command else changes)

    monkeypatch.setattr(run_folder.subprocess, "run", answer)
    assert git_commit() == expected
