"""Counts of unreadable patches, over a stop and over several evaluations."""

from __future__ import annotations

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
    return Recorder(folder, NullTracker(), console, ("soil", "palm"), 2, torch.device("cpu"))


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
    recorder.evaluation(step, evaluation(*unread), 0.0, False, recorder.folder / "best_model.pth")
    return recorder.figures()


def test_the_count_of_a_stream_is_taken_once(recorder: Recorder) -> None:
    recorder.start(0, 10)
    for step, skipped in ((1, 0), (2, 2), (3, 2), (4, 5)):
        recorder.log(step, LOSSES, {}, skipped)
    assert recorder.figures()["skipped_files"] == 5
    assert [line.get("data/skipped") for line in read_metrics(recorder.folder / "metrics.jsonl")] == [None, 2, 2, 5]


def test_a_resumed_run_counts_on(recorder: Recorder) -> None:
    """Its stream starts at nought again."""
    recorder.start(0, 10)
    recorder.log(1, LOSSES, {}, 3)
    again = resumed(recorder, 1)
    for step, skipped in ((2, 0), (3, 2)):
        again.log(step, LOSSES, {}, skipped)
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
