"""Good signs of the last evaluation."""

from __future__ import annotations

from collections.abc import Callable

from semiseg.doctor import examine
from semiseg.report.history import History, series

Course = Callable[..., History]


def good(history: History) -> set[str]:
    return {finding.rule for finding in examine(history, {}) if finding.sign == "good"}


def test_the_guides_good_run_shows_every_good_sign(course: Course) -> None:
    history = course(
        {
            "val/miou": [0.60, 0.67, 0.72],
            "train/miou": [0.62, 0.70, 0.75],
            "gap": [0.02, 0.03, 0.03],
            "loss/ce": [0.45, 0.32, 0.20],
            "loss/dice": [0.28, 0.20, 0.12],
            "loss/st": [0.35, 0.38, 0.42],
            "st/pixels": [18e3, 32e3, 38e3],
            "st/images": [8.0, 8.0, 8.0],
        }
    )
    expected = {"st-pixels-high", "st-steady", "st-loss-stable", "ce-falls", "dice-falls", "gap-small"}
    assert good(history) == expected | {"val-miou-rises"}
    for finding in examine(history, {}):
        assert finding.remedy == "" and finding.step == 1500


def test_signs_of_before_that_are_gone_do_not_count(course: Course) -> None:
    history = course(
        {
            "val/miou": [0.60, 0.67, 0.65],
            "train/miou": [0.62, 0.70, 0.75],
            "gap": [0.02, 0.03, 0.10],
            "loss/ce": [0.45, 0.20, 0.44],
            "loss/st": [0.35, 0.38, 0.9],
            "st/pixels": [18e3, 32e3, 9e3],
            "st/images": [8.0, 0.0, 8.0],
        }
    )
    assert good(history) == set()


def test_a_small_gap_of_a_network_that_has_learned_nothing_is_no_good_sign(course: Course) -> None:
    assert good(course({"val/miou": [0.2, 0.1], "train/miou": [0.2, 0.1], "gap": [0.0, 0.0]})) == set()


def test_nothing_evaluated_nothing_said() -> None:
    assert examine({}, {}) == []
    assert examine({"st/pixels": series([10, 20], [9e9, 9e9])}, {}) == []
