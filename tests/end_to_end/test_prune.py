"""`experiment=prune`: the run of a smaller network, which needs the run that it was cut from only to start."""

from __future__ import annotations

import shutil

import pytest
import torch

from semiseg.trained import load_trained

PRUNE = ("experiment=prune", "aug=none", "trainer.max_epochs=null")


def test_a_pruned_run_is_resumed_and_used_without_the_run_it_was_cut_from(place):
    assert place.train_small("model=lightweight", "name=source") == 0
    source, whole, half = place.run("source"), place.run("whole"), place.run("half")
    started = [*PRUNE, f"model.run={source.path}", "optim.ema_decay=0.9", "trainer.save_every=2"]
    assert place.train(*started, "trainer.max_steps=4", "name=whole") == 0
    before = source.summary()["parameters"]
    assert whole.summary()["parameters"] / before == pytest.approx(0.75, abs=0.01)
    assert f"Pruned {source.path}: {before / 1e6:.2f} M -> " in (whole.path / "log.txt").read_text(encoding="utf-8")

    weights = whole.path / "checkpoints" / "final_model.pth"  # narrower than what the optimiser begins with
    wider = ("model.amount=0.1", "optim=sgd_polynomial", f"restore_from={weights}", "trainer.max_steps=1")
    assert place.train(*started, *wider, "name=wider") == 0
    momentum = place.run("wider").load("latest_checkpoint.pth")["optimizer_state"]["state"].values()
    assert sum(each["momentum_buffer"].numel() for each in momentum) == whole.summary()["parameters"]

    shutil.rmtree(source.path)
    shutil.copytree(whole.path, half.path)
    shutil.copy(half.path / "checkpoints" / "checkpoint_2.pth", half.path / "checkpoints" / "latest_checkpoint.pth")
    (half.path / "checkpoints" / "checkpoint_4.pth").unlink()
    assert place.command("resume=true", "name=half") == 0
    assert "2 of 4 iterations done" in (half.path / "log.txt").read_text(encoding="utf-8")
    for name in ("final_model.pth", "final_model_ema.pth"):
        expected, got = whole.load(name), half.load(name)
        assert all(got[key].equal(expected[key]) for key in expected)

    predictor = load_trained(half.path, torch.device("cpu"))
    assert sum(p.numel() for p in predictor.network.parameters()) == whole.summary()["parameters"]
    assert predictor.probabilities(torch.zeros(1, 3, 45, 37, dtype=torch.uint8)).shape == (1, 3, 45, 37)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ((), "model.run is null: give the finished run"),
        (("model.run=runs/semiseg/done", "model@model.base=v3"), "with model@model.base=lightweight"),
        (("model.run=runs/semiseg/done", "model.amount=0"), "model.amount=0 is not possible"),
    ],
)
def test_what_cannot_be_pruned_is_refused_before_anything_is_written(finished, refused, overrides, said: str):
    place, _ = finished
    refused(place.train(*PRUNE, "trainer.max_steps=1", "name=new", *overrides), said)
    assert not place.run("new").path.exists()
