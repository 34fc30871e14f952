"""Trainings whose numbers or memory fail: what is kept, what is said, and that resuming changes nothing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.end_to_end.conftest import RunFiles
from tests.end_to_end.test_resume import assert_same, trained_state

from semiseg.engine.engine import Engine
from semiseg.methods import SemiSupervised

SELF_TRAINING = ("pseudo_label=softmax_global", "pseudo_label.start_step=0", "optim.ema_decay=0.9")
SMALL = ("trainer.max_steps=6", "trainer.eval_every=3", "trainer.save_latest_every=1", "trainer.save_every=4")


@pytest.fixture
def forward(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., Any]], None]:
    """Put a function before every forward pass of the method: it takes a batch and a step, and gives the batch."""
    original = SemiSupervised.forward

    def put(before: Callable[..., Any]) -> None:
        monkeypatch.setattr(
            SemiSupervised, "forward", lambda self, batch, step: original(self, before(batch, step), step)
        )

    return put


def spoiled(*steps: int) -> Callable[..., Any]:
    """NaN in the images of these steps."""

    def before(batch: Any, step: int) -> Any:
        if step in steps:
            batch.image = batch.image * math.nan
        return batch

    return before


def limited(images: int) -> Callable[..., Any]:
    """Memory for that many labelled images."""

    def before(batch: Any, step: int) -> Any:
        if len(batch.image) > images:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return batch

    return before


def interrupted_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Ctrl-C before the step with this number, once."""
    original = Engine._train_step

    def stopping(self: Engine, *args: Any) -> None:
        if self.step == step:
            monkeypatch.setattr(Engine, "_train_step", original)
            raise KeyboardInterrupt
        original(self, *args)

    monkeypatch.setattr(Engine, "_train_step", stopping)


def said(run: RunFiles) -> list[str]:
    return (run.path / "log.txt").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("stop", [3, 4])
def test_bad_steps_are_skipped_and_counted_also_when_the_run_is_stopped_among_them(place, forward, monkeypatch, stop):
    forward(spoiled(1, 3))
    assert place.train_small("name=whole", *SELF_TRAINING, *SMALL) == 0
    interrupted_at(monkeypatch, stop)
    assert place.train_small("name=stopped", *SELF_TRAINING, *SMALL) == 130
    assert place.command("resume=true", "name=stopped") == 0

    whole, stopped = place.run("whole"), place.run("stopped")
    assert whole.summary()["skipped_steps"] == stopped.summary()["skipped_steps"] == 2
    assert whole.metrics() == stopped.metrics()
    assert_same(trained_state(stopped), trained_state(whole), "stopped")
    counts = {line["step"]: line.get("skipped_steps") for line in whole.metrics() if "lr/student" in line}
    assert counts == {1: None, 2: 1, 3: 1, 4: 2, 5: 2, 6: 2}
    assert all(math.isfinite(value) for line in whole.metrics() for value in line.values())
    assert [line for line in said(whole) if line.startswith("Steps skipped")] == [
        "Steps skipped up to iteration 2: 1, 1 in all (loss/focal, loss/total not finite)",
        "Steps skipped up to iteration 4: 1, 2 in all (loss/focal, loss/total not finite)",
    ]
    assert whole.summary()["findings"] == stopped.summary()["findings"]


def test_a_training_that_diverges_ends_with_its_batch_and_a_checkpoint_that_goes_on(place, forward, capfd):
    forward(spoiled(*range(3, 99)))
    typed = (*SMALL, "trainer.max_steps=99", "trainer.max_bad_steps=4")
    assert place.train_small("name=bad", *typed) == 1
    run, error = place.run("bad"), capfd.readouterr().err
    latest = run.path / "checkpoints" / "latest_checkpoint.pth"
    assert error.startswith("semiseg: loss/focal, loss/total not finite at step 7, the last of 4 such steps in a row")
    assert error.count("\n") == 1
    assert f"{latest.relative_to(place.path)} is intact (iteration 3)" in error
    assert "optim.grad_clip=10" in error

    kept = torch.load(run.path / "bad_batch.pt", weights_only=True)
    (batch,) = kept["batches"]
    assert kept["step"] == 7
    assert batch["image"].shape == (2, 3, 32, 32) and batch["mask"].shape == (2, 32, 32)
    assert all((place.path / name).is_file() for name in batch["files"]["labeled"])
    assert run.summary()["skipped_steps"] == 4
    assert [finding["rule"] for finding in run.summary()["findings"]].count("loss-not-finite") == 1
    assert all(bool(value.isfinite().all()) for value in run.load()["model_state"].values())

    forward(spoiled())
    again = (f"restore_from={latest.as_posix()}", "optim.grad_clip=10", *typed, "trainer.max_steps=6")
    assert place.train_small("name=again", *again) == 0


@pytest.mark.parametrize("labeler", [(), SELF_TRAINING])
def test_smaller_batches_take_the_place_of_those_that_do_not_fit(place, forward, monkeypatch, labeler):
    batches = ("trainer.batch_size=4", "trainer.unlabeled_batch_size=4", "trainer.auto_batch=true")
    typed = ("trainer.max_epochs=3", "trainer.max_steps=null", "trainer.save_latest_every=1", *batches, *labeler)
    forward(limited(2))
    assert place.train_small("name=whole", *typed) == 0
    interrupted_at(monkeypatch, 3)
    assert place.train_small("name=stopped", *typed) == 130
    assert place.command("resume=true", "name=stopped") == 0
    forward(limited(4))
    assert place.train_small("name=large", *typed) == 0

    whole, stopped, large = (place.run(name) for name in ("whole", "stopped", "large"))
    summary = whole.summary()
    unlabeled = 2 if labeler else 4  # where no unlabelled batch is drawn, its size stays
    assert (summary["batch_size"], summary["unlabeled_batch_size"], summary["accumulate"]) == (2, unlabeled, 2)
    assert summary["warnings"] == [
        "Out of memory at iteration 0: continuing with trainer.batch_size=2 "
        f"trainer.unlabeled_batch_size={unlabeled} trainer.accumulate=2"
    ]
    assert (large.summary()["batch_size"], large.summary()["accumulate"]) == (4, 1)
    assert_same(trained_state(stopped), trained_state(whole), "stopped")
    assert whole.metrics() == stopped.metrics()
    rates, positions = ([], [])
    for run in (whole, large):
        rates.append([(line["step"], line["lr/student"]) for line in run.metrics() if "lr/student" in line])
        positions.append(run.load()["data_position"])
    assert rates[0] == rates[1]  # the same steps at the same rates, over the same samples
    assert positions[0] == positions[1]


def test_without_memory_the_error_names_what_would_fit(place, forward, capfd):
    forward(limited(2))
    assert place.train_small("name=large", "trainer.batch_size=4") == 1
    error = capfd.readouterr().err
    assert error.startswith("semiseg: Out of memory at step 0 with trainer.batch_size=4")
    assert "trainer.batch_size=2 trainer.unlabeled_batch_size=2 trainer.accumulate=2" in error
    assert "trainer.auto_batch=true" in error
    assert error.count("\n") == 1
    assert place.run("large").summary()["status"] == "failed"
