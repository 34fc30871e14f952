"""A name never holds half a file, and a bad file is named instead of loaded."""

from __future__ import annotations

import errno
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from semiseg.engine import checkpoint as files
from semiseg.engine.checkpoint import CheckpointFolder
from semiseg.errors import CheckpointError

STATE = {"iteration": 7, "model_state": {"weight": torch.arange(4096.0)}, "python": [3, [1, 2], None]}


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "latest_checkpoint.pth"
    files.save(STATE, path)
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_round_trip_needs_no_code_of_the_file(written: Path) -> None:
    state = torch.load(written, weights_only=True)
    assert state["python"] == [3, [1, 2], None]
    torch.testing.assert_close(files.load(written)["model_state"], STATE["model_state"])


def test_full_disk_leaves_the_old_file_alone(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = written.read_bytes()

    def half(payload: Any, file: io.BufferedWriter) -> None:
        file.write(before[: len(before) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", half)
    with pytest.raises(CheckpointError, match=r"No space left.*resume=true") as caught:
        files.save({"iteration": 8}, written)
    assert str(written) in str(caught.value)
    assert written.read_bytes() == before
    assert names(written.parent) == ["latest_checkpoint.pth"]


def test_interrupted_replacement_leaves_the_old_file_alone(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = written.read_bytes()

    def refuse(self: Path, target: Path) -> Path:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(CheckpointError, match="Permission denied"):
        files.save({"iteration": 8}, written)
    assert written.read_bytes() == before
    assert names(written.parent) == ["latest_checkpoint.pth"]


def test_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nowhere.*folder is gone") as caught:
        files.save(STATE, tmp_path / "nowhere" / "model.pth")
    assert "intact" not in str(caught.value)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.99])
def test_truncated_file_is_refused(written: Path, share: float) -> None:
    content = written.read_bytes()
    written.write_bytes(content[: int(share * len(content))])
    with pytest.raises(CheckpointError, match="cannot be read") as caught:
        files.load(written)
    assert str(written) in str(caught.value)


def test_one_flipped_bit_in_the_weights_is_refused(written: Path) -> None:
    """`torch.load` alone returns the wrong weights without a word."""
    content = bytearray(written.read_bytes())
    position = content.index(np.arange(4096, dtype=np.float32)[100:110].tobytes())
    content[position] ^= 1
    written.write_bytes(bytes(content))
    with pytest.raises(CheckpointError, match="checksum"):
        files.load(written)


@pytest.mark.parametrize("content", [b"", b"no tensors here\n" * 20, b"\x89PNG\r\n\x1a\n" + bytes(64), b'{"a": 1}'])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"picture\.png cannot be read"):
        files.load(path)


def test_random_bytes_are_refused_whatever_they_break(tmp_path: Path) -> None:
    path, rng = tmp_path / "noise.pth", np.random.default_rng(0)
    for size in rng.integers(1, 400, size=100):
        path.write_bytes(rng.bytes(int(size)))
        with pytest.raises(CheckpointError, match=r"noise\.pth"):
            files.load(path)


def test_pickled_code_is_refused_and_not_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple:
            return Path.touch, (tmp_path / "ran",)

    torch.save({"iteration": 1, "model_state": Trap()}, tmp_path / "trap.pth")
    with pytest.raises(CheckpointError, match=r"trap\.pth"):
        files.load(tmp_path / "trap.pth")
    assert not (tmp_path / "ran").exists()


def test_bad_file_points_at_the_good_ones_beside_it(written: Path) -> None:
    other = written.with_name("checkpoint_5000.pth")
    files.save(STATE, other)
    written.write_bytes(b"")
    with pytest.raises(CheckpointError) as caught:
        files.load(written)
    assert f"restore_from= with another one: {other}" in str(caught.value)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"gone\.pth does not exist\."):
        files.load(tmp_path / "gone.pth")


def test_full_checkpoints_are_told_from_weights() -> None:
    assert files.is_full_checkpoint(STATE)
    assert not files.is_full_checkpoint(nn.Linear(2, 2).state_dict())
    assert not files.is_full_checkpoint(torch.zeros(3))


def test_checkpoint_of_another_program_is_told_from_one_to_continue() -> None:
    files.check_keys(STATE, STATE.keys(), Path("run.pth"))
    with pytest.raises(
        CheckpointError,
        match=r"run\.pth cannot be continued, .* it holds no meter, random_states\. .*torch\.load\('run\.pth'",
    ):
        files.check_keys(STATE, STATE.keys() | {"random_states", "meter"}, Path("run.pth"))


@pytest.mark.parametrize("other", [nn.Linear(2, 3), nn.Linear(2, 2, bias=False), nn.Sequential(nn.Linear(2, 2))])
def test_no_more_tensors_differ_than_there_are(other: nn.Module) -> None:
    with pytest.raises(CheckpointError) as caught:
        files.restore(nn.Linear(2, 2), other.state_dict(), Path("run.pth"), "model")
    differ, every = map(int, re.findall(r"(\d+) of (\d+) tensors", str(caught.value))[0])
    assert 0 < differ <= every


@pytest.mark.parametrize("other", [nn.Linear(2, 3), nn.Linear(2, 2, bias=False), nn.Sequential(nn.Linear(2, 2))])
def test_another_models_state_is_refused_and_changes_nothing(other: nn.Module) -> None:
    mine = nn.Linear(2, 2)
    before = {name: tensor.clone() for name, tensor in mine.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"run\.pth is a checkpoint of another model: .*(weight|bias)"):
        files.restore(mine, other.state_dict(), Path("run.pth"), "model")
    torch.testing.assert_close(dict(mine.state_dict()), before)


def test_missing_part_is_named() -> None:
    with pytest.raises(CheckpointError, match=r"run\.pth holds no EMA"):
        files.restore(nn.Linear(2, 2), None, Path("run.pth"), "EMA")


@pytest.mark.parametrize("suffixes", [("",), ("", "_D"), ("", "_ema"), ("", "_D", "_ema")])
def test_names_are_the_guides(tmp_path: Path, suffixes: tuple[str, ...]) -> None:
    folder = CheckpointFolder(tmp_path, {suffix: nn.Linear(1, 1) for suffix in suffixes})
    folder.save_latest(STATE)
    folder.save_periodic(STATE, 5000)
    best = folder.save_best(3)
    folder.save_final()
    folder.close()
    expected = {"latest_checkpoint.pth", "checkpoint_5000.pth"}
    expected |= {f"latest_model{s}.pth" for s in suffixes if s != "_ema"}
    expected |= {f"{stem}{s}.pth" for stem in ("best_model", "final_model") for s in suffixes}
    assert set(names(tmp_path)) == expected
    assert best == folder.best == tmp_path / ("best_model_ema.pth" if "_ema" in suffixes else "best_model.pth")


def test_weights_files_hold_the_plain_state_of_their_network(tmp_path: Path) -> None:
    networks: dict[str, nn.Module] = {"": nn.Linear(1, 2), "_D": nn.Linear(3, 1), "_ema": nn.Linear(1, 2)}
    folder = CheckpointFolder(tmp_path, networks)
    folder.save_final()
    folder.close()
    for suffix, network in networks.items():
        state = torch.load(tmp_path / f"final_model{suffix}.pth", weights_only=True)
        torch.testing.assert_close(dict(state), dict(network.state_dict()))
