"""What the rules read of a history, and what is told from a run's settings."""

from __future__ import annotations

import numpy as np
import pytest

from semiseg.doctor.case import Case, per_evaluation
from semiseg.report.history import series


def test_logged_values_count_as_their_mean_since_the_evaluation_before() -> None:
    rng = np.random.default_rng(0)
    steps, values = np.arange(10, 95, 10), rng.random(9)
    history = {"loss/ce": series(steps.tolist(), values.tolist()), "val/miou": series([25, 60, 80], [0.1, 0.2, 0.3])}
    found = per_evaluation(history)["loss/ce"]
    assert found.steps.tolist() == [25, 60, 80]
    expected = [values[:2].mean(), values[2:6].mean(), values[6:8].mean()]  # the ninth waits for an evaluation
    np.testing.assert_allclose(found.values, expected)


def test_doing_it_twice_changes_nothing() -> None:
    history = {"st/pixels": series([30, 40, 50], [1, 5, 7]), "gap": series([20, 40, 60], [0.1, 0.1, 0.2])}
    once = per_evaluation(history)
    assert once["st/pixels"].steps.tolist() == [40, 60]  # nothing was logged up to 20
    twice = per_evaluation(once)
    for name, each in once.items():
        np.testing.assert_array_equal(twice[name].values, each.values)


def test_a_value_that_is_not_finite_does_not_hide_the_others() -> None:
    history = {"loss/ce": series([10, 20], [np.nan, 4.0]), "val/miou": series([20], [0.5])}
    assert Case(history).points("loss/ce") == [(20, 4.0)]


def test_a_run_without_an_evaluation_has_no_points() -> None:
    assert Case({"loss/ce": series([10], [1.0])}).points("loss/ce") == []
    assert Case({}).points("val/miou") == []


@pytest.mark.parametrize(
    ("settings", "choice", "logged", "expected"),
    [
        ({"pseudo_label._target_": "semiseg.pseudo_label.DiscriminatorGate"}, None, [], "discriminator"),
        ({"pseudo_label._target_": "semiseg.pseudo_label.SoftmaxThreshold"}, None, [], "softmax"),
        ({"pseudo_label._target_": "semiseg.pseudo_label.NoPseudoLabels"}, None, [], "none"),
        ({}, "discriminator_scheduled", [], "discriminator"),
        ({}, "softmax_global", [], "softmax"),
        ({}, "none", [], "none"),
        ({}, None, ["loss/discriminator", "st/pixels"], "discriminator"),
        ({}, None, ["st/pixels"], "softmax"),
        ({}, None, ["loss/ce"], "none"),
    ],
)
def test_who_picks_the_pseudo_labels(settings, choice, logged, expected) -> None:
    summary = {} if choice is None else {"choices": {"pseudo_label": choice}}
    assert Case({name: series([1], [1.0]) for name in logged}, summary, settings).labeler == expected


@pytest.mark.parametrize(
    "settings",
    [
        {"pseudo_label.class_thresholds": [None, 0.6]},
        {"pseudo_label.class_thresholds.palm": "0.6", "pseudo_label.class_thresholds.soil": "None"},  # texts, any order
        {"pseudo_label.class_thresholds.palm": "0.6", "pseudo_label.class_thresholds.soil": "null"},  # YAML's text
        {"pseudo_label.class_thresholds.0": None, "pseudo_label.class_thresholds.1": 0.6},
    ],
)
def test_class_thresholds_however_they_are_given(settings) -> None:
    assert Case({}, {"classes": ["soil", "palm"]}, settings).class_thresholds == [None, 0.6]
    assert Case({}, {"colors": {"soil": [0, 0, 0], "palm": [1, 1, 1]}}, settings).class_thresholds == [None, 0.6]


def test_class_thresholds_that_are_not_all_known_are_not_known() -> None:
    settings = {"pseudo_label.class_thresholds.palm": 0.6}
    assert Case({}, {"classes": ["soil", "palm"]}, settings).class_thresholds is None
    assert Case({}, {}, settings).class_thresholds is None
    assert Case({}, {"classes": ["soil"]}, {"pseudo_label.class_thresholds": None}).class_thresholds is None
