"""The verb `history`: what a run logged, as a table and a figure."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest

from semiseg.history_plot import best_step, course, draw, history_of, steps_per_epoch
from semiseg.report.history import series

LINES = (
    {"step": 10, "time": 1.0, "loss/ce": 1.5, "loss/total": 1.75, "lr/student": 0.1},
    {"step": 10, "time": 1.1, "val/miou": 0.3, "train/miou": 0.4, "gap": 0.1},
    {"step": 20, "time": 2.0, "loss/ce": 1.0, "loss/total": 1.25, "lr/student": 0.05},
    {"step": 20, "time": 2.1, "val/miou": 0.5, "train/miou": 0.7, "gap": 0.2},
    {"step": 30, "time": 3.0, "loss/ce": 0.5, "loss/total": 0.75, "lr/student": 0.01},
    {"step": 30, "time": 3.1, "val/miou": 0.4, "train/miou": 0.8, "gap": 0.4},
)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run that is still training: no summary, no checkpoints."""
    folder = tmp_path / "first"
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra" / "config.yaml").write_text("trainer: {batch_size: 4, accumulate: 2}\n", encoding="utf-8")
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LINES), encoding="utf-8")
    return folder


def test_the_table_has_the_last_values_and_those_at_the_best(run: Path) -> None:
    table = course(history_of(run), "first")
    assert table.header == ["quantity", "last (iteration 30)", "best (iteration 20)"]
    assert table.rows == [
        ["validation mIoU", "0.4", "0.5"],
        ["training mIoU", "0.8", "0.7"],
        ["train/val gap", "0.4", "0.2"],
        ["loss: total", "0.75", "1.25"],
        ["loss: cross-entropy", "0.5", "1"],
        ["learning rate: student", "0.01", "0.05"],
    ]


def test_lines_axes_and_the_mark_of_the_best(run: Path) -> None:
    (run / "summary.json").write_text(json.dumps({"pools": {"train": 80}}), encoding="utf-8")
    assert steps_per_epoch(run) == 10
    losses, scores, rates = draw(history_of(run), "first", 10).figure.axes
    assert [line.get_label() for line in losses.get_lines()[:2]] == ["loss: total", "loss: cross-entropy"]
    assert scores.get_lines()[0].get_ydata().tolist() == [0.3, 0.5, 0.4]
    mark = next(line for line in scores.get_lines() if line.get_label() == "best: 0.5000")
    assert mark.get_xdata().tolist() == [20]
    assert [axes.get_ylabel() for axes in (losses, scores, rates)] == ["loss", "mIoU", "learning rate"]
    assert losses.child_axes[0].get_xlabel() == "epoch" and rates.get_xlabel() == "iteration"


def test_the_verb_writes_the_figure(
    semiseg: Callable, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert semiseg("history", f"run={run.as_posix()}") == 0
    assert semiseg("history", f"run={run.as_posix()}", f"out={(tmp_path / 'out').as_posix()}") == 0
    assert "validation mIoU" in capsys.readouterr().out
    for place in (run, tmp_path / "out"):
        picture = cv2.imread(str(place / "history.png"))
        assert picture is not None and picture.std() > 10


def test_a_run_without_an_evaluation(run: Path) -> None:
    (run / "metrics.jsonl").write_text(json.dumps(LINES[0]) + "\n", encoding="utf-8")
    history = history_of(run)
    assert best_step(history) is None
    assert course(history, "x").rows[0] == ["loss: total", "1.75", ""]
    assert len(draw(history, "x", None).figure.axes) == 2
    assert best_step({"val/miou": series([1, 2], [float("nan")] * 2)}) is None


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda run: run.rename(run.with_name("other")), "is no folder"),
        (lambda run: (run / "metrics.jsonl").unlink(), "has logged nothing"),
    ],
)
def test_mistakes(semiseg: Callable, run: Path, make: Callable, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    make(run)
    assert semiseg("history", f"run={run.as_posix()}") == 1
    assert said in capsys.readouterr().err


def test_no_run(semiseg: Callable, capsys: pytest.CaptureFixture[str]) -> None:
    assert semiseg("history") == 1
    assert "No value for run" in capsys.readouterr().err
    assert semiseg("history", "run=x", "+speed=2") == 1
    assert "speed is no setting" in capsys.readouterr().err
