"""No changed byte is loaded in silence, and a resumption goes back to the newest file that is whole."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.end_to_end.conftest import RunFiles, Workplace, plant, with_defaults, workplace
from tests.end_to_end.test_resume import assert_same, trained_state
from tests.faults.conftest import LONG

from semiseg.engine import checkpoint as files
from semiseg.errors import CheckpointError
from semiseg.models.weights import read_state_dict
from semiseg.tensor_file import SEAL_SIZE, run_of, step_of

FLIPS = 5000 if LONG else 500
RUN, OTHER = "a" * 32, "b" * 32
STEPS = ("trainer.max_steps=6", "trainer.eval_every=2", "trainer.save_every=2", "trainer.save_latest_every=1")
LATEST = "latest_checkpoint.pth"


def checkpoint(size: int) -> dict[str, Any]:
    """Tensors of this many values, plain ones, and what stands between them."""
    rng = torch.Generator().manual_seed(size)
    state = OrderedDict((f"layer{n}.weight", torch.randn(size, generator=rng)) for n in range(4))
    return {"iteration": 7, "model_state": state, "config": {"name": "run", "seed": 0}, "python": [3, [1, 2], None]}


@pytest.mark.parametrize("size", [1, 100, 20_000])
def test_no_flipped_byte_is_loaded(tmp_path: Path, size: int) -> None:
    path = tmp_path / "checkpoint_1.pth"
    files.save(checkpoint(size), path, RUN)
    whole, rng = path.read_bytes(), np.random.default_rng(size)
    assert run_of(path) == RUN and files.read(path)["iteration"] == 7
    # At random anywhere, and every byte of the last record and the seal, where the archive's own sums do not reach.
    offsets = [*rng.integers(len(whole), size=FLIPS), *range(len(whole) - SEAL_SIZE - 22, len(whole))]
    for offset in offsets:
        flipped = bytearray(whole)
        flipped[offset] ^= int(rng.integers(1, 256))
        path.write_bytes(bytes(flipped))
        with pytest.raises(CheckpointError, match=r"checkpoint_1\.pth cannot be read"):
            files.read(path)


def test_no_cut_or_longer_file_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint_1.pth"
    files.save(checkpoint(100), path, RUN)
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    lengths = [0, 1, 4, 22, *rng.integers(len(whole), size=100), *range(len(whole) - SEAL_SIZE - 23, len(whole))]
    for length in lengths:
        path.write_bytes(whole[:length])
        with pytest.raises(CheckpointError):
            files.read(path)
    for more in (b"\0", b"\0" * 22, whole):
        path.write_bytes(whole + more)
        with pytest.raises(CheckpointError):
            files.read(path)


def test_zeroed_blocks_are_refused(tmp_path: Path) -> None:
    """What a power cut leaves of a file whose length reached the disk and whose content did not."""
    path = tmp_path / "checkpoint_1.pth"
    files.save(checkpoint(20_000), path, RUN)
    whole = path.read_bytes()
    for first in range(0, len(whole), 4096):
        if any(whole[first : first + 4096]):
            path.write_bytes(whole[:first] + bytes(min(4096, len(whole) - first)) + whole[first + 4096 :])
            with pytest.raises(CheckpointError):
                files.read(path)


def test_our_files_are_read_by_pytorch_alone(tmp_path: Path) -> None:
    path = tmp_path / "latest_checkpoint.pth"
    files.save(checkpoint(10), path, RUN)
    for options in ({}, {"mmap": True}):
        state = torch.load(path, weights_only=True, **options)
        assert_same(dict(state["model_state"]), dict(checkpoint(10)["model_state"]), "model")


def test_files_of_other_programs_and_of_older_versions_are_read(tmp_path: Path) -> None:
    """They have no seal: the archive's own checksums hold, and before PyTorch 1.6 nothing does."""
    plain, old = tmp_path / "plain.pth", tmp_path / "old.pth"
    torch.save(checkpoint(100), plain)
    torch.save(checkpoint(100), old, _use_new_zipfile_serialization=False)
    for path in (plain, old):
        assert run_of(path) is None
        assert_same(dict(files.read(path)["model_state"]), dict(checkpoint(100)["model_state"]), path.name)
        assert len(read_state_dict(path)) == 4
    content = bytearray(plain.read_bytes())
    content[content.index(checkpoint(100)["model_state"]["layer2.weight"].numpy().tobytes()) + 9] ^= 1
    plain.write_bytes(bytes(content))
    with pytest.raises(CheckpointError, match="checksum"):
        files.read(plain)


@pytest.mark.parametrize("sealed", [True, False], ids=["sealed", "foreign"])
def test_a_pickle_bomb_is_refused_and_not_run(tmp_path: Path, sealed: bool) -> None:
    class Bomb:
        def __reduce__(self) -> tuple:
            return os.mkdir, (str(tmp_path / "ran"),)

    path = tmp_path / "bomb.pth"
    payload = {"iteration": 1, "model_state": {"weight": Bomb()}}
    files.save(payload, path, RUN) if sealed else torch.save(payload, path)
    for read in (files.read, read_state_dict):
        with pytest.raises(CheckpointError, match=r"bomb\.pth"):
            read(path)
    assert not (tmp_path / "ran").exists()


def test_a_compression_bomb_is_refused_before_it_unpacks(tmp_path: Path) -> None:
    path, packed = tmp_path / "plain.pth", tmp_path / "packed.pth"
    torch.save(checkpoint(100), path)
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            content = bytes(50_000_000) if name.endswith("/data/0") else source.read(name)
            target.writestr(name, content)
    assert packed.stat().st_size < 200_000
    with pytest.raises(CheckpointError, match="compressed"):
        files.read(packed)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory):
    """A finished run of six steps with checkpoints at 2, 4 and 6, to be copied."""
    planted = tmp_path_factory.mktemp("planted") / "data"
    plant(planted)
    with workplace(tmp_path_factory.mktemp("done"), planted) as place:
        assert place.train_small("name=done", *STEPS) == 0
        assert place.train_small("name=stranger", "seed=1", *STEPS) == 0
        yield place


@pytest.fixture
def copied(done: Workplace, tmp_path: Path) -> tuple[Workplace, RunFiles]:
    shutil.copytree(done.path, tmp_path / "place")
    place = Workplace(tmp_path / "place")
    return place, place.run("done")


def cut(path: Path, others: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path, others: Path) -> None:
    path.write_bytes(b"")


def flip(path: Path, others: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 4
    path.write_bytes(bytes(content))


def weights(path: Path, others: Path) -> None:
    shutil.copy(path.with_name("final_model.pth"), path)


def anothers(path: Path, others: Path) -> None:
    shutil.copy(others / path.name, path)


def gone(path: Path, others: Path) -> None:
    path.unlink()


WAYS = {
    "cut": (cut, "cannot be read"),
    "empty": (empty, "cannot be read"),
    "flipped": (flip, "checksum is wrong"),
    "weights": (weights, "no full checkpoint"),
    "another run's": (anothers, "belongs to another run"),
    "deleted": (gone, None),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("bad", [1, 2])
def test_a_resumption_goes_back_to_the_newest_whole_checkpoint(
    copied, done: Workplace, capfd: pytest.CaptureFixture[str], way: str, bad: int
) -> None:
    """...and does the lost steps again, to the same end."""
    place, run = copied
    spoil, reason = WAYS[way]
    spoilt = [LATEST, "checkpoint_6.pth", "checkpoint_4.pth"][: bad + 1]
    for name in spoilt:
        spoil(run.path / "checkpoints" / name, place.run("stranger").path / "checkpoints")
    assert place.command("resume=true", "name=done") == 0
    said = capfd.readouterr().out
    kept = "checkpoint_4.pth" if bad == 1 else "checkpoint_2.pth"
    assert f"{kept}: {4 if bad == 1 else 2} of 6 iterations done" in said
    if reason:
        assert said.count("Passed over: ") == len(spoilt)
        assert all(name in said for name in spoilt) and said.count(reason) >= len(spoilt)
        assert sum("Passed over" in warning for warning in run.summary()["warnings"]) == len(spoilt)
    expected = done.run("done")
    assert_same(trained_state(run), trained_state(expected), LATEST)
    assert run.metrics() == expected.metrics()
    assert_same(run.load("best_model.pth"), expected.load("best_model.pth"), "best_model.pth")


def test_after_a_fallback_with_other_settings_the_best_file_is_the_one_reported(copied) -> None:
    place, run = copied
    checkpoints = run.path / "checkpoints"
    for name in (LATEST, "checkpoint_6.pth", "checkpoint_4.pth"):
        cut(checkpoints / name, checkpoints)
    identity = (run.path / ".hydra" / "identity").read_text().strip()
    files.save(run.load("best_model.pth"), checkpoints / "best_model.pth", identity, 6)
    assert place.command("resume=true", "name=done", "optim.lr=0") == 0
    summary = run.summary()
    assert step_of(checkpoints / "best_model.pth") == summary["best_step"]
    scores = {line["step"]: line["val/miou"] for line in run.metrics() if "val/miou" in line}
    assert summary["best_val_miou"] == scores[summary["best_step"]]
    assert (checkpoints / "salvaged_6_model.pth").is_file()


def test_best_weights_are_the_last_resort(copied, done: Workplace, capfd: pytest.CaptureFixture[str]) -> None:
    place, run = copied
    for path in (run.path / "checkpoints").glob("*checkpoint*.pth"):
        empty(path, path)
    best, metrics = run.load("best_model.pth"), (run.path / "metrics.jsonl").read_bytes()
    assert place.command("resume=true", "name=done", "optim.lr=0") == 0
    said = capfd.readouterr().out
    assert said.count("Passed over: ") == 4 and "The state of the optimiser is gone" in said
    name = "head.1.weight"
    assert_same(run.load("final_model.pth")[name], best[name], name)
    assert run.summary()["steps"] == 6 and run.metrics()[0]["step"] == 1
    assert_same(run.load("salvaged_model.pth"), best, "salvaged_model.pth")
    assert (run.path / "salvaged_metrics.jsonl").read_bytes() == metrics


def test_where_nothing_is_whole_one_message_lists_what_was_tried(copied, capfd: pytest.CaptureFixture[str]) -> None:
    place, run = copied
    tried = [LATEST, "checkpoint_6.pth", "checkpoint_4.pth", "checkpoint_2.pth", "best_model.pth"]
    for name in tried:
        flip(run.path / "checkpoints" / name, run.path)
    before = run.contents()
    assert place.command("resume=true", "name=done") == 1
    error = capfd.readouterr().err
    assert error.startswith("semiseg: No file in") and error.count("\n") == 1
    positions = [error.index(f"{name} cannot be read (its checksum is wrong)") for name in tried]
    assert positions == sorted(positions)
    assert run.contents() == before


def test_settings_that_do_not_fit_are_no_damage(copied, capfd: pytest.CaptureFixture[str]) -> None:
    """Another optimiser is refused: going back to weights alone would throw the run away for a slip."""
    place, run = copied
    before = run.contents()
    assert place.command("resume=true", "name=done", "optim=sgd_polynomial") == 1
    assert "latest_checkpoint.pth" in capfd.readouterr().err
    assert run.contents() == before


def test_a_run_of_an_older_version_goes_on(copied) -> None:
    """Its files have no seal and its folder no identity."""
    place, run = copied
    for path in (run.path / "checkpoints").glob("*.pth"):
        torch.save(torch.load(path, weights_only=True), path)
    (run.path / ".hydra" / "identity").unlink()
    assert place.command("resume=true", "name=done", "trainer.max_steps=7") == 0
    assert run.load()["iteration"] == 7
    assert run_of(run.path / "checkpoints" / LATEST) == (run.path / ".hydra" / "identity").read_text().strip()


def test_a_checkpoint_of_another_run_is_started_from_when_it_is_named(copied) -> None:
    place, _ = copied
    path = place.run("stranger").path / "checkpoints" / "checkpoint_4.pth"
    typed = with_defaults((), (f"restore_from={path.as_posix()}", "name=anew", *STEPS))
    assert place.train_small(*typed) == 0
    assert place.run("anew").load()["iteration"] == 6
    assert run_of(place.run("anew").path / "checkpoints" / LATEST) != run_of(path)
