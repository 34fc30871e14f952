"""The doctor beside a training: what it keeps, says once and finds again after a stop."""

from __future__ import annotations

import io
import math
from typing import Any

import torch

from semiseg.doctor import Watch, examine
from semiseg.report.history import series

NAMES = ("soil", "road", "palm")
SETTINGS: dict[str, Any] = {
    "data.exclude_from_miou": [0],
    "pseudo_label._target_": "semiseg.pseudo_label.SoftmaxThreshold",
    "pseudo_label.class_thresholds": [None, 0.6, 0.7],
}


def train(watch: Watch, first: int, last: int) -> list[tuple[str, int | None]]:
    """Steps of 100, an evaluation every 500: no pixel kept, soil and palm never found, the gap wide from 1,500 on."""
    said = []
    for step in range(first, last + 1, 100):
        watch.log({"loss/ce": 1.0, "st/pixels": 0.0, "st/coverage/soil": 0.1, "lr/student": 0.1})
        if step % 500 == 0:
            gap = 0.2 if step >= 1500 else 0.1
            values = {"val/miou": step / 1e4, "gap": gap, "val/iou/soil": 0.0, "val/iou/palm": 0.0, "val/f1/palm": 0.0}
            said += [(finding.rule, finding.step) for finding in watch.evaluation(step, values)]
    return said


SAID = [("st-pixels-low", 1000), ("class-at-zero", 1000), ("gap-wide", 1500)]


def test_each_bad_sign_is_said_at_its_evaluation_and_kept() -> None:
    watch = Watch(NAMES, SETTINGS)
    assert train(watch, 100, 3000) == SAID
    bad = [finding for finding in watch.findings() if finding.sign == "bad"]
    assert [(finding.rule, finding.step) for finding in bad] == SAID
    assert bad[0].remedy == '"pseudo_label.class_thresholds=[null,0.5,0.6]"'
    assert "palm" in bad[1].evidence and "soil" not in bad[1].evidence
    assert bad[1].remedy == '"pseudo_label.class_thresholds=[null,0.6,0.45]"'


def test_a_stop_anywhere_changes_nothing_through_a_checkpoint_read_without_code() -> None:
    for stop in (100, 700, 1000, 1400, 1500, 2200):
        before, file = Watch(NAMES, SETTINGS), io.BytesIO()
        said = train(before, 100, stop)
        torch.save(before.state_dict(), file)
        after = Watch(NAMES, SETTINGS)
        after.load_state_dict(torch.load(io.BytesIO(file.getvalue()), weights_only=True))
        assert said + train(after, stop + 100, 3000) == SAID
        whole = Watch(NAMES, SETTINGS)
        train(whole, 100, 3000)
        assert after.state_dict() == whole.state_dict()
        assert after.findings() == whole.findings()


def test_a_report_that_reads_every_line_finds_the_same() -> None:
    watch = Watch(NAMES, SETTINGS)
    lines: dict[str, list[tuple[int, float]]] = {}
    for step in range(10, 3010, 10):
        values = {"st/pixels": 5.0 * step % 997, "loss/ce": 1 + math.sin(step / 100)}
        watch.log(values)
        if step % 500 == 0:
            scores = {"val/miou": 0.5, "gap": step / 1e4, "val/iou/palm": 0.0}
            watch.evaluation(step, scores)
            values |= scores
        for name, value in values.items():
            lines.setdefault(name, []).append((step, value))
    history = {name: series([s for s, _ in pairs], [v for _, v in pairs]) for name, pairs in lines.items()}
    found = watch.findings()
    assert len(found) > 2
    assert examine(history, {"classes": list(NAMES), "miou_leaves_out": ["soil"]}, SETTINGS) == found


def test_it_keeps_a_value_an_evaluation_whatever_is_logged_in_between() -> None:
    watch = Watch(NAMES, {})
    train(watch, 100, 5000)
    assert {len(steps) for steps, _ in watch.course.values()} == {10}
    assert set(watch.course) == {"loss/ce", "st/pixels", "val/miou", "gap", "val/iou/soil", "val/iou/palm"}


def test_losses_that_end_the_training_are_kept() -> None:
    watch = Watch(NAMES, {"optim.lr": 0.1})
    train(watch, 100, 500)
    watch.not_finite(530, ["loss/ce"])
    (finding,) = [each for each in watch.findings() if each.sign == "bad"]
    assert (finding.rule, finding.step, finding.remedy) == ("loss-not-finite", 530, "optim.lr=0.05 optim.grad_clip=10")


def test_a_checkpoint_of_an_older_version_begins_a_course() -> None:
    watch = Watch(NAMES, {})
    watch.load_state_dict({})
    assert watch.findings() == [] and watch.evaluation(10, {"val/miou": 0.5, "gap": 0.3})
