"""Which files a run writes, when, and what is in them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from semiseg.engine.checkpoint import CheckpointFolder
from semiseg.engine.evaluator import Evaluation, Evaluator
from semiseg.engine.metrics import Metrics

SYSTEMS = {  # the suffixes of the networks that each has
    "v1": {"", "_D"},
    "v2": {"", "_D", "_ema"},
    "v3": {"", "_ema"},
    "lightweight": {""},
}
GUIDE_KEYS = {"iteration", "model_state", "model_D_state", "optimizer_state", "optimizer_D_state", "best_val_miou"}
OTHER_KEYS = {"format", "ema_state", "random_states", "data_position", "config"}


@pytest.fixture(params=SYSTEMS)
def system_run(request: pytest.FixtureRequest, place) -> tuple[set[str], Any]:
    """The networks' suffixes and the finished run of a system that takes 2 steps with everything switched on."""
    model = request.param
    encoder = [] if model == "lightweight" else ["model.encoder=resnet18"]
    steps = ["trainer.max_steps=2", "trainer.save_every=2", "pseudo_label.start_step=0"]
    assert place.train("name=run", f"model={model}", *encoder, *steps) == 0
    return SYSTEMS[model], place.run("run")


def test_names_and_contents_are_the_guides(system_run):
    suffixes, run = system_run
    weights = {f"{stem}_model{suffix}.pth" for stem in ("best", "final") for suffix in suffixes}
    weights |= {f"latest_model{suffix}.pth" for suffix in suffixes - {"_ema"}}
    assert run.names() == weights | {"latest_checkpoint.pth", "checkpoint_2.pth"}
    assert set(run.summary()["checkpoints"]) == run.names()

    state = run.load()
    assert state.keys() >= GUIDE_KEYS | OTHER_KEYS
    assert state["iteration"] == 2
    assert (state["model_D_state"] is not None) == (state["optimizer_D_state"] is not None) == ("_D" in suffixes)
    assert (state["ema_state"] is not None) == ("_ema" in suffixes)
    assert run.load("checkpoint_2.pth")["iteration"] == 2
    for suffix, part in (("", "model_state"), ("_D", "model_D_state")):
        if suffix in suffixes:
            assert_equal(run.load(f"final_model{suffix}.pth"), state[part])
    if "_ema" in suffixes:
        averaged = {name.removeprefix("network."): t for name, t in state["ema_state"].items() if "network." in name}
        assert_equal(run.load("final_model_ema.pth"), averaged)
        assert run.summary()["best_weights"].endswith("best_model_ema.pth")


def assert_equal(got: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """Plain weights: names and tensors, nothing else."""
    assert got.keys() == expected.keys()
    assert all(torch.equal(got[name], expected[name]) for name in expected)


def evaluation(miou: float) -> Evaluation:
    """One in which every class has this IoU; the first class is left out as in the Salak set."""
    wrong = round(1000 * (1 - miou) / 2)
    matrix = np.full((3, 3), wrong // 2) + np.diag(np.full(3, round(1000 * miou)))
    return Evaluation(Metrics(matrix, (0,)), Metrics(matrix, (0,)), matrix[None], np.array(["a"]))


@pytest.fixture
def saved(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are to be written, in their order, with "--" for every evaluation."""
    names: list[str] = []
    write = CheckpointFolder._write

    def record(self: CheckpointFolder, payloads: dict[str, Any], *args: Any) -> None:
        names.extend(payloads)
        write(self, payloads, *args)

    monkeypatch.setattr(CheckpointFolder, "_write", record)
    return names


@pytest.fixture
def scores(monkeypatch: pytest.MonkeyPatch, saved: list[str]) -> Callable[..., None]:
    """Replace the evaluations by ones with these mIoUs."""

    def use(*values: float) -> None:
        left = iter(values)

        def evaluate(self: Evaluator, network: torch.nn.Module) -> Evaluation:
            saved.append("--")
            return evaluation(next(left))

        monkeypatch.setattr(Evaluator, "__call__", evaluate)

    return use


def test_moments(place, saved, scores):
    """The best when validation improves, the latest every 2 steps, a numbered one every 3, the final at the end."""
    scores(0.2, 0.5, 0.3, 0.5, 0.4)
    every = ("trainer.eval_every=1", "trainer.save_latest_every=2", "trainer.save_every=3")
    assert place.train_small("name=run", "trainer.max_steps=5", *every) == 0
    latest = ["latest_model.pth", "latest_checkpoint.pth"]
    best, numbered = ["best_model.pth"], ["checkpoint_3.pth"]
    by_step = ["--", *best, "--", *best, *latest, "--", *numbered, *latest, "--", *latest, "--", *latest]
    assert saved == [*by_step, "final_model.pth"]
    assert place.run("run").load()["best_step"] == 2
    assert place.run("run").load("checkpoint_3.pth")["iteration"] == 3


def test_early_stopping(place, saved, scores):
    """Two evaluations without a new best end the run, with a checkpoint to continue from and the final weights."""
    scores(0.2, 0.5, 0.3, 0.4, 0.4)
    typed = ("trainer.max_steps=9", "trainer.eval_every=1", "trainer.early_stop_patience=2")
    assert place.train_small("name=run", *typed) == 0
    assert saved[-4:] == ["--", "latest_model.pth", "latest_checkpoint.pth", "final_model.pth"]
    summary = place.run("run").summary()
    assert (summary["status"], summary["steps"], summary["best_step"]) == ("stopped early", 4, 2)
    log = (place.run("run").path / "log.txt").read_text(encoding="utf-8")
    assert "Stopped early at iteration 4 of 9: 2 evaluations without a new best (trainer.early_stop_patience=2)." in log
    assert " resume=true name=run trainer.early_stop_patience=null" in log
    latest = place.run("run").path / "checkpoints" / "latest_checkpoint.pth"
    assert place.train_small("name=again", f"restore_from={latest.as_posix()}", *typed) == 0
    log = (place.run("again").path / "log.txt").read_text(encoding="utf-8")
    assert "To go on all the same: the same under another name= trainer.early_stop_patience=null" in log
