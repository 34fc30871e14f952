"""Two runs held against each other, step by step."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from semiseg.differences import (
    difference,
    environment_differences,
    metric_differences,
    rounded_up,
    score_differences,
    verdict,
)
from semiseg.files import append_text


def test_difference_of_values_that_lack() -> None:
    nan = float("nan")
    assert [difference(*pair) for pair in ((1.0, 0.5), (None, None), (nan, None), (nan, 1.0))] == [0.5, 0.0, 0.0, None]


def log(folder: Path, *lines: dict) -> Path:
    folder.mkdir(exist_ok=True)
    for line in lines:
        append_text(folder / "metrics.jsonl", json.dumps(line) + "\n")
    return folder


def test_metrics_are_held_against_each_other_step_by_step(tmp_path: Path) -> None:
    then = [{"step": s, "time": s, "loss/total": 1.0, "lr/student": 0.1, "images_per_s": s} for s in (1, 2, 3)]
    now = [{"step": s, "time": 9, "loss/total": 1.0 + (s > 1) * s / 8, "lr/student": 0.1} for s in (1, 2, 3, 4)]
    before = log(tmp_path / "a", *then, {"step": 3, "time": 3, "val/miou": 0.5})
    found, steps = metric_differences(before, log(tmp_path / "b", *now))
    assert steps == 3
    assert found == {
        "loss/total": {"largest_difference": 0.375, "first_step": 2},
        "val/miou": {"largest_difference": None, "first_step": 3},
    }


def scores(best: tuple, final: tuple, iou: tuple = (0.5, 0.5)) -> dict:
    runs = [
        {"best_val_miou": best[each], "final_val_miou": final[each], "class_iou": {"road": iou[each]}}
        for each in (0, 1)
    ]
    return score_differences(*runs)


@pytest.mark.parametrize(
    ("found", "loss", "steps", "word"),
    [
        (scores((0.5, 0.5), (0.4, 0.4)), 0.0, 3, "identical"),
        (scores((0.5, 0.5), (0.4, 0.4)), 1.04e-7, 3, "within 1.1e-07"),
        (scores((0.5, 0.503), (0.4, 0.4), (0.5, 0.52)), 2.0, 3, "within 0.02"),
        (scores((0.5, 0.52), (0.4, 0.4)), 0.0, 3, "different"),
        (scores((0.5, None), (0.4, 0.4)), 0.0, 3, "different"),
        (scores((0.5, 0.5), (0.4, 0.4), (0.5, None)), 0.0, 3, "different"),
        (scores((0.5, 0.5), (0.4, 0.4)), None, 3, "different"),
        (scores((0.5, 0.5), (0.4, 0.4)), 0.0, 0, "different"),
    ],
)
def test_verdict(found: dict, loss: float | None, steps: int, word: str) -> None:
    assert verdict(found, {"loss/total": {"largest_difference": loss, "first_step": 1}}, steps) == word


@pytest.mark.parametrize(("value", "text"), [(0.001234, "0.0013"), (1.0, "1"), (2e-9, "2e-09"), (0.0999, "0.1")])
def test_rounding_never_understates(value: float, text: str) -> None:
    assert rounded_up(value) == text


def test_environment_lists_what_changed() -> None:
    then = {"git_commit": "a", "versions": {"torch": "1", "python": "3"}, "hardware": "cpu", "data_fingerprint": "f"}
    now = then | {"git_commit": "b", "versions": {"torch": "2", "python": "3"}}
    assert environment_differences(then, now) == {"git_commit": ["a", "b"], "torch": ["1", "2"]}
