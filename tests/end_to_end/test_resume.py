"""A run that was stopped and continued ends with the very bits of one that was not."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from tests.end_to_end.networks import thin_networks

from semiseg.engine.checkpoint import CheckpointFolder
from semiseg.engine.engine import Engine

LENGTH = ("trainer.max_steps=6", "trainer.eval_every=3", "trainer.save_every=4", "pseudo_label.start_step=2")
SYSTEMS = {
    "v2": ("model=v2", "model.encoder=resnet18", "optim.lr=0.01", "optim.warmup_steps=2", *LENGTH),
    "v3": ("model=v3", "model.encoder=resnet18", "optim.lr=0.01", "optim.warmup_steps=2", *LENGTH),
}
# Once a step of this number is about to be taken or saved, the run is stopped.
AT_THE_START_OF_SELF_TRAINING = ("_train_step", 2)
JUST_AFTER_IT = ("_train_step", 3)  # and right after an evaluation
EVALUATED_BUT_NOT_SAVED = ("_save", 3)
STEPS_LATER = ("_train_step", 5)
STOPS = (AT_THE_START_OF_SELF_TRAINING, EVALUATED_BUT_NOT_SAVED, JUST_AFTER_IT, STEPS_LATER)


def assert_same(got: Any, expected: Any, where: str) -> None:
    """Equal bit for bit, however deep."""
    if isinstance(expected, torch.Tensor):
        assert got.dtype == expected.dtype and torch.equal(got, expected), where
    elif isinstance(expected, dict):
        assert got.keys() == expected.keys(), where
        for key in expected:
            assert_same(got[key], expected[key], f"{where}.{key}")
    elif isinstance(expected, list | tuple):
        assert len(got) == len(expected), where
        for number, (one, other) in enumerate(zip(got, expected, strict=True)):
            assert_same(one, other, f"{where}.{number}")
    else:
        assert got == expected, where


def trained_state(run) -> dict[str, Any]:
    """What a checkpoint says about the training, without its clock, its config and its tracker."""
    state = run.load()
    state["recorder"] = {key: state["recorder"][key] for key in ("st_sums", "st_counts", "st", "best", "final")}
    return {key: value for key, value in state.items() if key != "config"}


@pytest.fixture(scope="module", autouse=True)
def thin() -> Iterator[None]:
    with thin_networks():
        yield


@pytest.fixture(scope="module")
def undisturbed(shared_place) -> Callable[[str], Any]:
    """The run of a system that nothing stopped, trained once."""

    def run(system: str) -> Any:
        if not shared_place.run(system).path.exists():
            assert shared_place.train(f"name={system}", *SYSTEMS[system]) == 0
        return shared_place.run(system)

    return run


@pytest.fixture
def stop_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    """Make the engine stop, as by Ctrl-C, when it comes to a method with this number of finished steps."""

    def stop(method: str, step: int) -> None:
        original = getattr(Engine, method)

        def stopping(self: Engine, *args: Any) -> None:
            if self.step == step:
                monkeypatch.setattr(Engine, method, original)
                raise KeyboardInterrupt
            original(self, *args)

        monkeypatch.setattr(Engine, method, stopping)

    return stop


@pytest.mark.parametrize("system", SYSTEMS)
def test_a_run_stopped_again_and_again_ends_as_if_never_stopped(shared_place, undisturbed, stop_at, system: str):
    expected, stopped = undisturbed(system), shared_place.run(f"{system}-stopped")
    stop_at(*STOPS[0])
    assert shared_place.train(f"name={system}-stopped", "trainer.save_latest_every=1", *SYSTEMS[system]) == 130
    assert stopped.summary()["status"] == "interrupted"
    for stop in STOPS[1:]:
        stop_at(*stop)
        assert shared_place.command("resume=true", f"name={system}-stopped") == 130
    assert shared_place.command("resume=true", f"name={system}-stopped") == 0

    assert_same(trained_state(stopped), trained_state(expected), system)
    assert stopped.names() == expected.names()
    for name in expected.names() - {"latest_checkpoint.pth", "checkpoint_4.pth"}:
        assert_same(stopped.load(name), expected.load(name), name)
    assert stopped.metrics() == expected.metrics()
    assert [line["step"] for line in stopped.metrics()] == [1, 2, 3, 3, 4, 5, 6, 6]  # evaluations at 3 and 6
    assert stopped.metrics()[-2]["st/pixels"] > 0
    same = ("status", "steps", "best_val_miou", "best_step", "final_val_miou", "class_iou", "gap", "st_coverage")
    same += ("findings",)
    assert {key: stopped.summary()[key] for key in same} == {key: expected.summary()[key] for key in same}


def test_a_checkpoint_continues_in_another_folder(shared_place, undisturbed):
    """From the last but one save on everything is equal, but the best weights are of the folder's own evaluations."""
    expected, elsewhere = undisturbed("v2"), shared_place.run("elsewhere")
    source = expected.path / "checkpoints" / "checkpoint_4.pth"
    assert shared_place.train("name=elsewhere", f"restore_from={source.as_posix()}", *SYSTEMS["v2"]) == 0

    got, wanted = trained_state(elsewhere), trained_state(expected)
    for key in ("model_state", "model_D_state", "ema_state", "optimizer_state", "optimizer_D_state", "data_position"):
        assert_same(got[key], wanted[key], key)
    assert got["iteration"] == 6
    later = [line for line in expected.metrics() if line["step"] > 4]
    assert [line | {"best/val_miou": 0} for line in elsewhere.metrics()] == [
        line | {"best/val_miou": 0} for line in later
    ]
    assert elsewhere.metrics()[-1]["best/val_miou"] == elsewhere.summary()["best_val_miou"]
    assert elsewhere.summary()["best_step"] == 6
    assert (elsewhere.path / "checkpoints" / "best_model_ema.pth").is_file()


def test_a_finished_run_goes_on_with_more_steps(finished):
    place, run = finished
    assert place.command("resume=true", "name=done", "trainer.max_steps=3") == 0
    assert run.load()["iteration"] == 3
    assert [line["step"] for line in run.metrics()] == [1, 2, 2, 3, 3]
    assert run.summary()["steps"] == 3


def test_another_batch_size_goes_on_behind_the_samples_seen(finished):
    place, run = finished
    assert run.load()["data_position"]["labeled"] == 4  # 2 steps of 2
    assert place.command("resume=true", "name=done", "trainer.max_steps=3", "trainer.batch_size=3") == 0
    assert run.load()["iteration"] == 3
    assert run.load()["data_position"]["labeled"] == 7


def test_a_finished_run_that_is_resumed_stays_as_it_is(finished):
    place, run = finished
    before, metrics = run.load(), run.metrics()
    assert place.command("resume=true", "name=done") == 0
    assert_same(run.load(), before, "latest_checkpoint")
    assert run.metrics() == metrics
    assert run.summary()["status"] == "finished"


def test_weights_alone_start_a_new_training(finished):
    place, run = finished
    weights = run.path / "checkpoints" / "final_model.pth"
    assert (
        place.train_small("name=tuned", f"restore_from={weights.as_posix()}", "optim.lr=0", "trainer.max_steps=1") == 0
    )
    assert place.run("tuned").load()["iteration"] == 1
    trained, start = place.run("tuned").load()["model_state"], run.load("final_model.pth")
    name = "head.1.weight"
    assert_same(trained[name], start[name], name)


@pytest.mark.parametrize(
    ("typed", "parts"),
    [
        (["resume=true"], ["resume=true needs the name of a run", "name=done"]),
        (["resume=true", "name=other"], ["resume=true needs the name of a run", "name=done"]),
        (["resume=true", "name=done", "experiment_name=none"], ["experiment_name="]),
        (
            ["resume=true", "name=done", "model._target_=semiseg.models.LightweightDSConv"],
            ["done", "checkpoint of another model"],
        ),
        (["resume=true", "name=done", "trainer.max_steps=few"], ["trainer.max_steps"]),
    ],
)
def test_a_resumption_that_is_refused_leaves_the_run_as_it_was(finished, refused, typed: list[str], parts: list[str]):
    place, run = finished
    before = run.contents()
    refused(place.command(*typed), *parts)
    assert run.contents() == before
    assert place.command("resume=true", "name=done") == 0


def test_a_changed_validation_set_is_refused(finished, refused):
    """A source that moved into the labelled ones would be measured on what was trained, or the other way round."""
    place, run = finished
    before = run.contents()
    (place.data / "val.txt").write_text("north_1\n", encoding="utf-8")
    (place.data / "labeled.txt").write_text("east_1\neast_2\nnorth_2\n", encoding="utf-8")
    parts = ("validation set", "4 patches, 8 before", "name=")
    refused(place.command("resume=true", "name=done"), *parts)
    latest = run.path / "checkpoints" / "latest_checkpoint.pth"
    refused(place.train_small("name=other", f"restore_from={latest.as_posix()}"), *parts)
    assert run.contents() == before and not place.run("other").path.exists()
    weights = latest.with_name("best_model.pth")
    assert place.train_small("name=other", f"restore_from={weights.as_posix()}") == 0


def test_changed_training_patches_and_another_seed_are_warned_of(finished):
    place, run = finished
    (place.data / "labeled.txt").write_text("east_1\n", encoding="utf-8")
    assert place.command("resume=true", "name=done", "seed=5") == 0
    said = " ".join(run.summary()["warnings"])
    assert "labelled training patches are no longer those of the run: 4 patches, 8 before" in said
    assert "unlabelled training patches" in said and "the run began with seed=0" in said


def test_data_that_moved_goes_on(finished):
    place, run = finished
    shutil.move(place.data, place.path / "moved")
    moved = ("data.root=moved", "data.labeled_list=moved/labeled.txt", "data.val_list=moved/val.txt")
    assert place.command("resume=true", "name=done", *moved) == 0
    assert run.summary()["warnings"] == []


def test_lost_best_weights_are_written_again(finished):
    place, run = finished
    expected, metrics = run.load("best_model.pth"), run.metrics()
    (run.path / "checkpoints" / "best_model.pth").unlink()
    assert place.command("resume=true", "name=done") == 0
    assert_same(run.load("best_model.pth"), expected, "best_model.pth")
    assert run.metrics() == metrics and run.summary()["status"] == "finished"


def test_best_weights_that_vanish_during_the_training_leave_a_summary_that_says_so(
    place, refused, monkeypatch: pytest.MonkeyPatch
):
    close = CheckpointFolder.close

    def losing(self: CheckpointFolder) -> None:
        close(self)
        self.best.unlink(missing_ok=True)

    monkeypatch.setattr(CheckpointFolder, "close", losing)
    refused(place.train_small("name=run"), "best_model.pth does not exist", "resume=true")
    assert place.run("run").summary()["status"] == "failed"
    monkeypatch.undo()
    assert place.command("resume=true", "name=run") == 0
    assert place.run("run").summary()["status"] == "finished"


def test_a_run_is_not_overwritten_by_another_of_its_name(finished, refused):
    place, run = finished
    before = run.contents()
    refused(place.train_small("name=done"), str(run.path.relative_to(place.path)), "resume=true name=done", "name=")
    assert run.contents() == before


def test_an_interrupted_run_says_how_to_continue(place, stop_at, capfd: pytest.CaptureFixture[str]):
    stop_at("_train_step", 1)
    typed = ("name=run", "trainer.save_latest_every=1", "experiment_name=few", "output=out")
    assert place.train_small(*typed) == 130
    shown = capfd.readouterr()
    assert "Stopped at iteration 1." in shown.out and shown.err == ""
    again = shown.out.split("semiseg train ")[1].splitlines()[0].split()
    assert again == ["resume=true", "name=run", "experiment_name=few", "output=out"]
    assert place.command(*again) == 0
    assert "then    semiseg compare runs=out" in capfd.readouterr().out


def test_a_run_that_stopped_before_its_first_checkpoint_says_so_and_is_started_anew(place, stop_at, refused, capfd):
    stop_at("_train_step", 1)
    assert place.train_small("name=early") == 130
    assert "before the first checkpoint" in capfd.readouterr().out
    refused(place.command("resume=true", "name=early"), "holds no checkpoint, so there is nothing to resume")
    assert place.train_small("name=early") == 0
    assert place.run("early").summary()["status"] == "finished"
    assert [line["step"] for line in place.run("early").metrics() if "lr/student" in line] == [1, 2]
