"""Metrics recomputed pixel by pixel and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from semiseg.engine.metrics import Metrics, confusion_matrices, metric_values

# rows truth, columns prediction; class 3 occurs in neither
MATRIX = np.array([[5, 1, 0, 0], [2, 6, 2, 0], [0, 1, 3, 0], [0, 0, 0, 0]])


def looped(prediction: np.ndarray, target: np.ndarray, num_classes: int) -> np.ndarray:
    """One matrix an image, counted pixel by pixel."""
    matrices = np.zeros((len(target), num_classes, num_classes), int)
    for image, (predicted, true) in enumerate(zip(prediction, target, strict=True)):
        for p, t in zip(predicted.flat, true.flat, strict=True):
            if t != 255:
                matrices[image, t, p] += 1
    return matrices


def test_confusion_matrices_match_a_loop_and_leave_out_ignored_pixels() -> None:
    rng = np.random.default_rng(0)
    target = rng.choice([0, 1, 2, 3, 255], size=(3, 7, 9))
    target[1] = 255  # a wholly ignored image
    prediction = rng.integers(4, size=target.shape)
    matrices = confusion_matrices(torch.from_numpy(prediction), torch.from_numpy(target), 4)
    assert matrices.dtype == torch.int64
    np.testing.assert_array_equal(matrices.numpy(), looped(prediction, target, 4))
    assert matrices[1].sum() == 0
    assert matrices.sum() == (target != 255).sum()


def test_values_by_hand() -> None:
    metrics = Metrics(MATRIX)
    np.testing.assert_allclose(metrics.iou, [5 / 8, 6 / 12, 3 / 6, np.nan])
    np.testing.assert_allclose(metrics.precision, [5 / 7, 6 / 8, 3 / 5, np.nan])
    np.testing.assert_allclose(metrics.recall, [5 / 6, 6 / 10, 3 / 4, np.nan])
    np.testing.assert_allclose(metrics.f1, [10 / 13, 12 / 18, 6 / 9, np.nan])
    assert metrics.accuracy == pytest.approx(14 / 20)
    assert metrics.frequency_weighted_iou == pytest.approx((6 * 5 / 8 + 10 * 0.5 + 4 * 0.5) / 20)


def test_mean_leaves_out_absent_and_excluded_classes() -> None:
    metrics = Metrics(MATRIX, excluded=(0,))
    assert metrics.absent == [3]
    assert metrics.miou == pytest.approx((0.5 + 0.5) / 2)
    assert metrics.miou_all == pytest.approx((5 / 8 + 0.5 + 0.5) / 3)


def test_a_class_that_is_only_predicted_counts_as_zero() -> None:
    metrics = Metrics(np.array([[3, 1], [0, 0]]))
    np.testing.assert_allclose(metrics.iou, [0.75, 0.0])
    assert metrics.absent == []
    assert np.isnan(metrics.recall[1])


def test_nothing_labelled_gives_nan_and_no_warning() -> None:
    metrics = Metrics(np.zeros((2, 2), int))
    with np.errstate(all="raise"):
        assert np.isnan([metrics.miou, metrics.accuracy, metrics.frequency_weighted_iou]).all()
        assert metric_values(metrics, ("a", "b"), "val") == {}


def test_named_values_hold_what_is_defined() -> None:
    values = metric_values(Metrics(MATRIX, excluded=(0,)), ("soil", "road", "palm", "roof"), "val")
    assert values["val/miou"] == pytest.approx(0.5)
    assert values["val/iou/soil"] == pytest.approx(5 / 8)
    assert values["val/recall/palm"] == pytest.approx(3 / 4)
    assert "val/iou/roof" not in values
    assert all(type(value) is float and np.isfinite(value) for value in values.values())
