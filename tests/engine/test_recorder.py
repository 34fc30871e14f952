"""Counts of unreadable patches and findings of the doctor, over a stop and over several evaluations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from semiseg.console import make_console
from semiseg.engine.evaluator import Evaluation
from semiseg.engine.metrics import Metrics
from semiseg.engine.recorder import Recorder
from semiseg.tracking.local import read_metrics
from semiseg.tracking.null import NullTracker

LOSSES = {"loss/ce": 1.0}


@pytest.fixture
def recorder(tmp_path: Path) -> Recorder:
    return new_recorder(tmp_path)


def new_recorder(folder: Path) -> Recorder:
    console = make_console(log_file=folder / "log.txt")
    return Recorder(folder, NullTracker(), console, ("soil", "palm"), torch.device("cpu"))


def resumed(recorder: Recorder, step: int) -> Recorder:
    again = new_recorder(recorder.folder)
    again.load_state_dict(recorder.state_dict())
    again.start(step, 10)
    return again


def evaluation(*unread: str) -> Evaluation:
    matrices = np.array([[[3, 1], [0, 4]]])
    metrics = Metrics(matrices.sum(0))
    return Evaluation(metrics, metrics, matrices, np.array(["a"] * len(matrices)), unread)


def evaluate(recorder: Recorder, step: int, *unread: str) -> dict[str, Any]:
    recorder.evaluation(step, evaluation(*unread), 0.0, 0.0, False, recorder.folder / "best_model.pth")
    return recorder.figures()


@pytest.mark.parametrize("best", [0.9, 0.775])
def test_the_best_that_is_logged_is_that_of_the_weights_in_the_files(recorder: Recorder, best: float) -> None:
    recorder.evaluation(2, evaluation(), 0.95, best, False, recorder.folder / "best_model.pth")
    (line,) = read_metrics(recorder.folder / "metrics.jsonl")
    assert line["val/miou"] == pytest.approx(0.775) and line["best/val_miou"] == best


def kept_pixels(kept: int, correct: int) -> dict[str, torch.Tensor]:
    """Counts of a batch of 100 pixels, all of the first class."""
    totals = {"batches": 1, "images": int(kept > 0), "kept": kept, "total": 100}
    classes = {"class_total": 100, "class_kept": kept, "class_audited": kept, "class_correct": correct}
    whole = {name: torch.tensor(value) for name, value in totals.items()}
    return whole | {name: torch.tensor([value, 0]) for name, value in classes.items()}


def test_an_interval_that_kept_nothing_has_no_precision_to_be_averaged(recorder: Recorder) -> None:
    recorder.start(0, 10)
    for step, counts in enumerate((kept_pixels(0, 0), kept_pixels(50, 40), kept_pixels(0, 0), kept_pixels(10, 6))):
        recorder.log(step + 1, LOSSES, counts, 2, 0)
    again = resumed(recorder, 4)
    figures = evaluate(again, 4)
    assert figures["st_precision"] == pytest.approx(0.7) and figures["st_coverage"] == pytest.approx(0.15)


def test_counts_of_an_older_checkpoint_are_those_of_all(recorder: Recorder) -> None:
    old = recorder.state_dict() | {"st_sums": {"st/coverage": 0.6, "st/precision": 1.5}, "st_times": 2}
    del old["st_counts"]
    recorder.load_state_dict(old)
    figures = evaluate(recorder, 4)
    assert (figures["st_coverage"], figures["st_precision"]) == (0.3, 0.75)


def test_matrices_that_cannot_be_written_end_no_run_and_leave_none_of_other_weights(recorder, monkeypatch) -> None:
    path = recorder.folder / "confusion_best.npz"
    recorder.keep_matrices(evaluation())
    assert path.is_file()

    def refuse(path: Path, write: Any) -> None:
        raise PermissionError(13, "used by another process")

    monkeypatch.setattr("semiseg.engine.recorder.write_atomically", refuse)
    recorder.keep_matrices(evaluation())
    assert not path.exists()
    assert "confusion_best.npz could not be written (used by another process)" in recorder.console.warnings[0]


def test_the_count_of_a_stream_is_taken_once(recorder: Recorder) -> None:
    recorder.start(0, 10)
    for step, skipped in ((1, 0), (2, 2), (3, 2), (4, 5)):
        recorder.log(step, LOSSES, {}, 2, skipped)
    assert recorder.figures()["skipped_files"] == 5
    assert [line.get("data/skipped") for line in read_metrics(recorder.folder / "metrics.jsonl")] == [None, 2, 2, 5]
    recorder.skipped_patches(7)  # at a checkpoint between two log steps
    assert recorder.figures()["skipped_files"] == 7


def test_the_rate_is_that_of_the_images_that_were_trained_on(recorder: Recorder, monkeypatch) -> None:
    """Fewer of them in the steps before self-training starts; what evaluations and saving take does not count."""
    clock = iter((0.0, 2.0, 3.0, 13.0, 16.0))
    monkeypatch.setattr("semiseg.engine.recorder.time.perf_counter", lambda: next(clock))
    recorder.start(0, 10)
    recorder.log(1, LOSSES, {}, 8, 0)
    with recorder.paused():
        pass  # for 10 seconds
    recorder.log(2, LOSSES, {}, 32, 0)
    assert recorder.figures()["train_seconds"] == 6.0
    assert [line["images_per_s"] for line in read_metrics(recorder.folder / "metrics.jsonl")] == [4.0, 8.0]
    assert recorder.figures()["images_per_s"] == pytest.approx(40 / 6)
    older = {name: value for name, value in recorder.state_dict().items() if name != "images"}
    recorder.load_state_dict(older)
    assert recorder.figures()["images_per_s"] is None


def test_a_resumed_run_counts_on(recorder: Recorder) -> None:
    """Its stream starts at nought again."""
    recorder.start(0, 10)
    recorder.log(1, LOSSES, {}, 2, 3)
    again = resumed(recorder, 1)
    for step, skipped in ((2, 0), (3, 2)):
        again.log(step, LOSSES, {}, 2, skipped)
    assert again.figures()["skipped_files"] == 5
    assert [line.get("data/skipped") for line in read_metrics(again.folder / "metrics.jsonl")] == [3, 3, 5]


def test_unreadable_patches_of_an_evaluation_are_named_once(recorder: Recorder) -> None:
    recorder.start(0, 10)
    assert evaluate(recorder, 1)["skipped_in_evaluation"] == 0
    assert recorder.console.warnings == []
    for step in (2, 3):
        assert evaluate(recorder, step, "a.png", "b.png")["skipped_in_evaluation"] == 2
    (warning,) = recorder.console.warnings
    assert "2 patches" in warning and "a.png, b.png" in warning


def untrained(recorder: Recorder, steps: range) -> list[dict[str, Any]]:
    """Logs and evaluations of a run that keeps no pixel; the findings at its end."""
    for step in steps:
        recorder.log(step, LOSSES, counts(kept=0), 2, 0)
        evaluate(recorder, step)
    return [each for each in recorder.figures()["findings"] if each["sign"] == "bad"]


def counts(kept: int) -> dict[str, torch.Tensor]:
    """One batch of two images of which `kept` pixels are kept, of one class."""
    values = {"batches": 1, "images": 0, "kept": kept, "total": 100}
    by_class = {"class_total": [100, 0], "class_kept": [kept, 0], "class_audited": [0, 0], "class_correct": [0, 0]}
    return {name: torch.tensor(value) for name, value in (values | by_class).items()}


def said(recorder: Recorder) -> list[str]:
    log = (recorder.folder / "log.txt").read_text(encoding="utf-8")
    return [line for line in log.splitlines() if line.startswith("Doctor")]


def test_bad_signs_are_said_once_and_kept_for_the_summary(recorder: Recorder) -> None:
    recorder.start(0, 10)
    (finding,) = untrained(recorder, range(1, 6))
    assert (finding["rule"], finding["step"]) == ("st-pixels-low", 2)
    (line,) = said(recorder)
    assert all(finding[part] in line for part in ("rule", "evidence", "remedy"))
    assert recorder.console.warnings == []
    assert json.loads(json.dumps(finding)) == finding


@pytest.mark.parametrize("stop", [1, 2, 3])
def test_a_resumed_run_says_nothing_twice_and_finds_the_same(recorder: Recorder, stop: int) -> None:
    recorder.start(0, 10)
    untrained(recorder, range(1, stop + 1))
    checkpoint = recorder.folder / "recorder.pth"
    torch.save(recorder.state_dict(), checkpoint)
    again = new_recorder(recorder.folder)
    again.load_state_dict(torch.load(checkpoint, weights_only=True))
    again.start(stop, 10)
    found = untrained(again, range(stop + 1, 6))
    assert len(said(again)) == 1
    (recorder.folder / "whole").mkdir()
    whole = new_recorder(recorder.folder / "whole")
    whole.start(0, 10)
    assert found == untrained(whole, range(1, 6))


def test_a_checkpoint_of_before_the_doctor_is_continued(recorder: Recorder) -> None:
    state = {name: value for name, value in recorder.state_dict().items() if name != "watch"}
    again = new_recorder(recorder.folder)
    again.load_state_dict(state | {"skipped": 3})
    assert again.figures()["skipped_files"] == 3
    assert again.figures()["findings"] == []


def test_another_folder_does_not_take_over_the_findings(recorder: Recorder) -> None:
    recorder.start(0, 10)
    assert untrained(recorder, range(1, 4))
    recorder.evaluation(3, evaluation(), 0.0, 0.775, True, recorder.folder / "best_model.pth")
    assert recorder.figures()["best_val_miou"] == recorder.figures()["final_val_miou"] == pytest.approx(0.775)
    recorder.forget_run()
    figures = recorder.figures()
    assert figures["findings"] == [] and figures["best_val_miou"] is figures["final_val_miou"] is None


@pytest.mark.parametrize(("losses", "counted"), [({}, "ST_px: 50"), ({"loss/discriminator": 0.5}, "ST_cnt: 1.0")])
def test_the_line_of_a_step_has_the_guides_names(recorder: Recorder, losses: dict[str, float], counted: str) -> None:
    recorder.start(0, 10)
    averages = {"loss/ce": 1.0, "loss/dice": 0.5, "loss/focal": 0.2, "loss/fm": 0.1, "loss/st": 0.3} | losses
    recorder.log(1, averages, kept_pixels(50, 40), 2, 0)
    line = (recorder.folder / "log.txt").read_text(encoding="utf-8").splitlines()[-1]
    parts = ["CE: 1.000", "Dice: 0.500", "Focal: 0.200", "FM: 0.100", "ST: 0.300", *["D: 0.500"] * len(losses), counted]
    assert line.startswith("Iter 1/10 | ") and line.split(" | ")[1:-2] == parts


def test_losses_that_end_the_training_are_recorded(recorder: Recorder) -> None:
    recorder.start(0, 10)
    recorder.log(1, LOSSES, {}, 2, 0)
    recorder.not_finite(2, ["loss/ce"])
    (finding,) = recorder.figures()["findings"]
    assert (finding["rule"], finding["step"]) == ("loss-not-finite", 2)
    last = read_metrics(recorder.folder / "metrics.jsonl")[-1]
    assert last["step"] == 2 and np.isnan(last["loss/ce"])


def test_remedies_start_from_the_settings_of_the_run(tmp_path: Path) -> None:
    console = make_console(log_file=tmp_path / "log.txt")
    settings = {"optim.lr": 0.2, "data.exclude_from_miou": [0]}
    recorder = Recorder(tmp_path, NullTracker(), console, ("soil", "palm"), torch.device("cpu"), settings)
    recorder.not_finite(2, ["loss/ce"])
    assert recorder.figures()["findings"][0]["remedy"].startswith("optim.lr=0.1 ")


def test_skipped_steps_are_told_once_each_and_counted(recorder: Recorder) -> None:
    recorder.start(0, 40)
    for step, total in ((10, 0), (20, 2), (30, 2), (40, 3)):
        recorder.skipped_steps(step, total, ["loss/ce"] if step == 20 else [])
        recorder.log(step, LOSSES, {}, 2, 0)
    said = (recorder.folder / "log.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in said if "skipped" in line] == [
        "Steps skipped up to iteration 20: 2, 2 in all (loss/ce not finite)",
        "Steps skipped up to iteration 40: 1, 3 in all (the gradient not finite)",
    ]
    written = read_metrics(recorder.folder / "metrics.jsonl")
    assert [line.get("skipped_steps") for line in written] == [None, 2, 2, 3]
    assert recorder.figures()["skipped_steps"] == resumed(recorder, 40).figures()["skipped_steps"] == 3
