"""Each bad sign shows where the guides say, and not beside it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from semiseg.doctor import Finding, examine
from semiseg.report.history import History, Series, series

Course = Callable[..., History]
SUMMARY = {"classes": ["soil", "road", "palm"]}
RISE_FALL = [0.1, 0.3, 0.5, 0.5, 0.49, 0.48, 0.47, 0.46, 0.45]


def bad(history: History, **summary: object) -> list[Finding]:
    return [finding for finding in examine(history, SUMMARY | summary) if finding.sign == "bad"]


def shown(history: History, **summary: object) -> list[tuple[str, int | None]]:
    """Rule and step of every bad sign, each of which says how much of what, and what to set."""
    found = bad(history, **summary)
    for finding in found:
        assert any(character.isdigit() for character in finding.evidence) and "=" in finding.remedy, finding
    return [(finding.rule, finding.step) for finding in found]


@pytest.mark.parametrize(
    ("quantities", "every", "expected"),
    [
        ({"st/pixels": [900, 900, 900, 999, 900]}, 500, [("st-pixels-low", 2000)]),
        ({"st/pixels": [900, 900, 900, 1000, 20_000]}, 500, []),
        ({"st/pixels": [20_000, 20_000, 20_000, 20_000, 500]}, 500, [("st-pixels-low", 2500)]),
        ({"st/pixels": [None, 0.0, 0.0, 5000.0, 9000.0]}, 500, [("st-pixels-low", 1500)]),
        ({"st/pixels": [0.0, 5.0, 0.0]}, 500, []),
        ({"loss/ce": [1.5, 1.4, 1.01]}, 5000, [("ce-high", 15_000)]),
        ({"loss/ce": [1.5, 1.4, 1.0]}, 5000, []),
        ({"loss/dice": [0.9, 0.8, 0.6, 0.7]}, 5000, [("dice-high", 15_000)]),
        ({"loss/dice": [0.9, 0.8, 0.5]}, 5000, []),
        ({"gap": [0.02, 0.15, 0.16, 0.3]}, 500, [("gap-wide", 1500)]),
        ({"loss/discriminator": [0.6, 0.05, 0.2, 0.09, 0.08]}, 500, [("discriminator-too-strong", 2500)]),
        ({"loss/discriminator": [0.71, 0.6, 0.71, 0.72]}, 500, [("discriminator-too-weak", 2000)]),
        ({"loss/discriminator": [0.69, 0.69, 0.69]}, 500, []),
        ({"val/iou/palm": [0.0, 0.1, 0.0, 0.0]}, 500, [("class-at-zero", 2000)]),
        ({"val/miou": [0.2] * 3, "train/miou": [0.25] * 3}, 2500, [("underfitting", 5000)]),
        ({"val/miou": [0.2] * 3, "train/miou": [0.4] * 3}, 2500, []),
        ({"loss/ce": [1.0, 0.3, 0.9, 0.4, 1.1, 0.3, 0.8]}, 500, [("loss-oscillates", 3000)]),
        ({"loss/ce": [1.0, 0.9, 0.85, 0.9, 0.8, 0.85, 0.7]}, 500, []),
        ({"loss/ce": [1.6, 0.8, 0.4, 0.2, 0.1, 0.05, 0.02]}, 500, []),
    ],
)
def test_sign_at_its_limit(course: Course, quantities, every: int, expected) -> None:
    assert shown(course(quantities, every)) == expected


def test_a_score_that_falls_shows_after_five_evaluations_without_a_new_best(course: Course) -> None:
    (finding,) = bad(course({"val/miou": RISE_FALL}))
    assert (finding.rule, finding.step) == ("val-miou-falls", 4000)  # best at 1,500, five evaluations later 0.46
    assert "0.5000 at iteration 1,500 to 0.4600" in finding.evidence
    assert shown(course({"val/miou": [0.5, *[0.49] * 20]})) == []  # a plateau


def test_a_plateau_counts_as_overfitting_when_the_training_score_still_rises(course: Course) -> None:
    plateau = [0.5, *[0.495] * 6]
    rising = [0.5, 0.51, 0.51, 0.51, 0.51, 0.515, 0.53]
    assert shown(course({"val/miou": plateau, "train/miou": rising})) == [("overfitting", 3500)]
    assert shown(course({"val/miou": plateau, "train/miou": [0.5] * 7})) == []


def test_high_coverage_is_bad_only_while_precision_falls(course: Course) -> None:
    history = course({"st/coverage": [0.9, 0.96, 0.97, 0.98], "st/precision": [0.9, 0.88, 0.89, 0.86]})
    (finding,) = bad(history)
    assert (finding.rule, finding.step) == ("st-confident-and-wrong", 1000)
    assert "96.0%" in finding.evidence and "from 90.0% to 88.0%" in finding.evidence
    assert shown(course({"st/coverage": [0.9, 0.97], "st/precision": [0.9, 0.91]})) == []
    assert shown(course({"st/coverage": [0.9, 0.9], "st/precision": [0.9, 0.7]})) == []
    assert shown(course({"st/coverage": [0.97, 0.99]})) == []  # nothing known of the truth


def test_thresholds_are_no_remedy_for_a_class_at_zero_before_self_training_begins(course: Course) -> None:
    zero = {"val/iou/palm": [0.0, 0.0, 0.0]}
    (before,) = bad(course(zero | {"st/pixels": [None, None, 5000.0]}))
    assert before.remedy == "loss.class_weights=balanced"
    (after,) = bad(course(zero | {"st/pixels": [None, 5000.0, 5000.0]}))
    assert "pseudo_label.threshold" in after.remedy


def test_classes_at_zero_are_named_together_and_those_that_do_not_count_are_not(course: Course) -> None:
    zero = {f"val/iou/{name}": [0.0, 0.0, 0.0] for name in ("soil", "road")}
    late = {"val/iou/palm": [0.2, 0.0, 0.0]}
    first, second = bad(course(zero | late))
    assert (first.step, second.step) == (1000, 1500)
    assert "soil, road" in first.evidence and "palm" not in first.evidence
    assert "soil" not in bad(course(zero), miou_leaves_out=["soil"])[0].evidence


def test_a_loss_that_is_not_finite_is_found_at_its_step_even_without_an_evaluation() -> None:
    history = {
        "loss/ce": series([10, 20, 30], [1.0, 0.9, np.nan]),
        "loss/dice": series([10, 20, 30], [0.5, 0.4, np.inf]),
        "loss/st": series([10, 20, 30], [0.5, 0.4, 0.3]),
    }
    (finding,) = bad(history)
    assert (finding.rule, finding.step) == ("loss-not-finite", 30)
    assert finding.evidence == "loss/ce, loss/dice not finite, at iteration 30"
    assert finding.remedy == "optim.lr=0.000125 optim.grad_clip=10"


def test_a_run_that_goes_well_has_no_bad_sign(course: Course) -> None:
    """The V3 guide's expected course."""
    history = course(
        {
            "val/miou": [0.60, 0.67, 0.70, 0.72, 0.72, 0.73],
            "train/miou": [0.62, 0.70, 0.73, 0.75, 0.75, 0.76],
            "gap": [0.02, 0.03, 0.03, 0.03, 0.03, 0.03],
            "loss/ce": [0.32, 0.25, 0.22, 0.20, 0.19, 0.18],
            "loss/dice": [0.20, 0.15, 0.13, 0.12, 0.11, 0.10],
            "st/pixels": [32e3, 38e3, 40e3, 42e3, 42e3, 43e3],
        },
        every=5000,
    )
    assert bad(history) == []


def upto(whole: Series, step: int) -> Series:
    early = whole.steps <= step
    return Series(whole.steps[early], whole.values[early])


def test_what_was_said_does_not_change_as_the_run_goes_on(course: Course) -> None:
    rng = np.random.default_rng(3)
    names = ("gap", "train/miou", "val/miou", "loss/ce", "loss/discriminator", "val/iou/soil", "st/coverage")
    whole = course({name: rng.random(30).round(1).tolist() for name in names} | {"st/pixels": [0.0] * 30}, every=1000)
    last = bad(whole)
    assert len({finding.rule for finding in last}) > 5
    for step in range(1000, 31_000, 1000):
        cut = {name: upto(s, step) for name, s in whole.items()}
        assert bad(cut) == [finding for finding in last if (finding.step or 0) <= step]
