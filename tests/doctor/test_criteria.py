"""The V3 guide's minimum, good and excellent."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from semiseg.doctor import Verdict, judge
from semiseg.report.history import History, series

Course = Callable[..., History]
SOFTMAX = {"choices": {"pseudo_label": "softmax"}}


def run(course: Course, miou: float, pixels: float, gap: float) -> History:
    return course({"val/miou": [0.1, miou], "gap": [0.0, gap], "st/pixels": [0.0, pixels]}, every=10_000)


def missed(verdict: Verdict) -> list[tuple[str, str]]:
    return [(row.level, row.name) for row in verdict.criteria if not row.met]


@pytest.mark.parametrize(
    ("miou", "pixels", "gap", "expected"),
    [
        (0.76, 41_000, 0.04, "excellent"),
        (0.76, 41_000, 0.05, "good"),
        (0.76, 40_000, 0.04, "good"),
        (0.75, 41_000, 0.04, "good"),
        (0.71, 30_000, 0.07, "minimum"),
        (0.61, 10_001, 0.119, "minimum"),
        (0.60, 50_000, 0.01, "below minimum"),
        (0.80, 9_000, 0.01, "below minimum"),
        (0.80, 50_000, 0.12, "below minimum"),
    ],
)
def test_level_at_its_limits(course: Course, miou: float, pixels: float, gap: float, expected: str) -> None:
    verdict = judge(SOFTMAX, run(course, miou, pixels, gap))
    assert verdict.level == expected
    assert verdict.note == ""


def test_rows_say_value_target_and_what_to_do(course: Course) -> None:
    verdict = judge(SOFTMAX, run(course, 0.65, 12_000, 0.10))
    assert verdict.level == "minimum"
    good = {row.name: row for row in verdict.criteria if row.level == "good"}
    assert (good["val mIoU"].target, good["val mIoU"].shown, good["val mIoU"].value) == ("> 0.70", "0.6500", 0.65)
    assert (good["ST pixels"].target, good["ST pixels"].shown) == ("> 30,000", "12,000")
    assert (good["train/val gap"].target, good["train/val gap"].shown) == ("< 0.08", "0.1000")
    assert good["early stopping"].met
    for row in verdict.criteria:
        assert ("=" in row.remedy) is not row.met


def test_early_stopping_is_not_good(course: Course) -> None:
    history = run(course, 0.80, 50_000, 0.01)
    verdict = judge(SOFTMAX | {"status": "stopped early"}, history, {"trainer.early_stop_patience": 10})
    assert verdict.level == "minimum"
    assert missed(verdict) == [("good", "early stopping")]
    (row,) = [row for row in verdict.criteria if not row.met]
    assert row.remedy == "trainer.early_stop_patience=40"


def test_a_supervised_run_is_not_held_against_st_pixels(course: Course) -> None:
    history = course({"val/miou": [0.76], "gap": [0.01]}, every=20_000)
    verdict = judge({"choices": {"pseudo_label": "none"}}, history)
    assert verdict.level == "excellent"
    assert "ST pixels" not in {row.name for row in verdict.criteria}
    never_started = judge(SOFTMAX, history)
    assert never_started.level == "below minimum"
    assert {row.shown for row in never_started.criteria if row.name == "ST pixels"} == {"none"}


def test_nor_where_nothing_was_ever_kept(course: Course) -> None:
    """Then the settings tell how many there are."""
    history = course({"val/miou": [0.1, 0.76], "gap": [0.0, 0.04], "st/pixels": [0.0, 0.0]}, every=10_000)
    sizes = {"trainer.unlabeled_batch_size": "2", "trainer.accumulate": 1, "trainer.crop_size": 64}
    for settings, within_reach in ((sizes, False), (sizes | {"trainer.crop_size": 512}, True), ({}, True)):
        rows = {row.level: row for row in judge(SOFTMAX, history, settings).criteria if row.name == "ST pixels"}
        assert rows["minimum"].missed == within_reach
        assert ("the whole unlabelled batch has 8,192 pixels" in rows["minimum"].obstacle) == (not within_reach)


def test_more_pixels_than_the_batch_has_are_not_asked_for(course: Course) -> None:
    """Four unlabelled crops of 64: 16,384 pixels, of which 12,288 are kept."""
    kept = {"st/pixels": [8_192.0, 12_288.0], "st/coverage": [0.5, 0.75]}
    history = course({"val/miou": [0.1, 0.76], "gap": [0.0, 0.04]} | kept, every=10_000)
    verdict = judge(SOFTMAX, history)
    assert verdict.level == "excellent"
    rows = {row.level: row for row in verdict.criteria if row.name == "ST pixels"}
    assert rows["minimum"].met and not rows["minimum"].obstacle
    for level, target in (("good", "> 30,000"), ("excellent", "> 40,000")):
        row = rows[level]
        assert (row.met, row.missed, row.remedy, row.target) == (False, False, "", target)
        assert (
            f"{target} or higher cannot be met at this crop and batch (the whole unlabelled batch has 16,384"
            in row.obstacle
        )
    assert verdict.note == rows["good"].obstacle
    wide = course({"val/miou": [0.76], "gap": [0.04], "st/pixels": [12_288.0], "st/coverage": [0.1]}, every=20_000)
    assert judge(SOFTMAX, wide).level == "minimum"  # 122,880 pixels, of which more could be kept
    summary = SOFTMAX | {"best_val_miou": 0.72, "gap": 0.03, "st_pixels": 12_288.0, "st_coverage": 0.75, "steps": 9}
    assert judge(summary, {}).level == "good"
    none = summary | {"st_pixels": 0.0, "st_coverage": 0.0}
    assert judge(none, {}).level == "below minimum"  # nothing was kept: how many there were is not known


def test_only_the_first_twenty_thousand_iterations_count(course: Course) -> None:
    late = course({"val/miou": [0.5, 0.8], "gap": [0.01, 0.01], "st/pixels": [50_000, 5.0]}, every=20_000)
    verdict = judge(SOFTMAX, late)
    assert verdict.level == "below minimum"
    assert missed(verdict)[0] == ("minimum", "val mIoU") and ("minimum", "ST pixels") not in missed(verdict)
    assert verdict.note == ""


def test_a_shorter_run_is_judged_and_said_to_be_shorter(course: Course) -> None:
    verdict = judge(SOFTMAX, course({"val/miou": [0.8], "gap": [0.01], "st/pixels": [50_000.0]}, every=300))
    assert verdict.level == "excellent"
    assert verdict.note == "judged at iteration 300; the guide gives a run 20,000"
    beyond = judge(SOFTMAX, {"val/miou": series([25_000, 50_000], [0.8, 0.9]), "gap": series([25_000], [0.0])})
    assert {row.value for row in beyond.criteria if row.name == "val mIoU"} == {0.8}
    assert "25,000" in beyond.note


def test_the_gap_is_that_of_the_best_evaluation(course: Course) -> None:
    history = course({"val/miou": [0.7, 0.6], "gap": [0.02, 0.3]}, every=10_000)
    assert {row.value for row in judge({}, history).criteria if row.name == "train/val gap"} == {0.02}


def test_the_summary_stands_in_for_a_history_that_is_lost() -> None:
    summary = SOFTMAX | {"best_val_miou": 0.72, "gap": 0.03, "st_pixels": 31_000.0, "steps": 400}
    verdict = judge(summary, {})
    assert verdict.level == "good" and "400 iterations" in verdict.note
    assert judge({"best_val_miou": 0.72}, {}).level == "below minimum"  # no gap
    assert "unknown length" in judge({"best_val_miou": 0.72}, {}).note


def test_a_run_without_an_evaluation_is_not_judged() -> None:
    verdict = judge({"status": "failed", "best_val_miou": None}, {})
    assert (verdict.level, verdict.criteria) == ("not judged", ()) and verdict.note
