"""Calibration and thresholds of made-up confidences, recomputed from every pixel with NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from semiseg.contracts import IGNORE_INDEX
from semiseg.evaluation.confidence import Confidence, ConfidenceTally

CPU = torch.device("cpu")
CLASSES = 4


def made_up(pixels: int = 5000) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Confidence, prediction and truth; right more often where confidence is high, a tenth ignored, class 3 unseen."""
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.26, 1, pixels).astype(np.float32)
    confidence[:3] = (1.0, 0.6, 0.8)
    prediction = rng.integers(0, 3, pixels)
    right = rng.uniform(size=pixels) < confidence**2
    truth = np.where(right, prediction, (prediction + 1) % 3)
    truth[rng.uniform(size=pixels) < 0.1] = IGNORE_INDEX
    return confidence, prediction, truth


def tallied(confidence: np.ndarray, prediction: np.ndarray, truth: np.ndarray) -> Confidence:
    """In batches [B, H, W]."""
    tally = ConfidenceTally(CLASSES, CPU)
    for part in np.split(np.arange(len(truth)), 5):
        tally.update(*(torch.from_numpy(each[part]).view(2, 10, -1) for each in (confidence, prediction, truth)))
    return tally.result()


def test_calibration_equals_that_of_every_pixel() -> None:
    confidence, prediction, truth = made_up()
    found = tallied(confidence, prediction, truth)
    known = truth != IGNORE_INDEX
    sure, right = confidence[known].astype(np.float64), (prediction == truth)[known]
    error = 0.0
    for number in range(15):
        inside = (sure > np.float32(number / 15)) & (sure <= np.float32((number + 1) / 15))  # as confidences are stored
        assert found.pixels[number] == inside.sum()
        if inside.any():
            assert found.accuracy[number] == pytest.approx(right[inside].mean(), abs=1e-12)
            assert found.mean_confidence[number] == pytest.approx(sure[inside].mean(), abs=1e-7)
            error += inside.mean() * abs(right[inside].mean() - sure[inside].mean())
        else:
            assert math.isnan(found.accuracy[number])
    assert found.ece == pytest.approx(error, abs=1e-7) and error > 0.05
    assert found.overconfidence == pytest.approx(sure.mean() - right.mean(), abs=1e-7)


def test_thresholds_equal_those_of_every_pixel() -> None:
    confidence, prediction, truth = made_up()
    found = tallied(confidence, prediction, truth)
    known = truth != IGNORE_INDEX
    for number in range(3):
        own = known & (prediction == number)
        for step in (0, 26, 50, 73, 99):
            kept = own & (confidence > np.float32(found.thresholds[step]))
            assert found.coverage[number, step] == pytest.approx(kept.sum() / own.sum())
            assert found.precision[number, step] == pytest.approx((truth == number)[kept].mean())
    assert np.isnan(found.coverage[3]).all() and np.isnan(found.precision[3]).all()


def test_the_suggested_threshold_is_the_lowest_that_reaches_the_precision() -> None:
    found = tallied(*made_up(20000))
    suggested = found.suggested(0.8, never=[1])
    assert suggested[1] is None and suggested[3] is None
    for number in (0, 2):
        step = round(suggested[number] * 100)
        assert found.precision[number, step] >= 0.8
        assert not (found.precision[number, :step] >= 0.8).any() and 50 < step < 95
    precision, coverage = found.joint(suggested)
    steps = [round(suggested[number] * 100) for number in (0, 2)]
    kept = found.kept[0, steps[0]] + found.kept[2, steps[1]]
    assert precision == pytest.approx(kept[1] / kept.sum()) and coverage == pytest.approx(
        kept.sum() / found.pixels.sum()
    )


def test_a_few_lucky_pixels_suggest_nothing() -> None:
    confidence = np.r_[np.full(995, 0.5), np.full(5, 0.99)].astype(np.float32)
    truth = np.r_[np.arange(995) % 2, np.zeros(5, np.int64)]
    found = tallied(confidence, np.zeros(1000, np.int64), truth)
    assert found.precision[0, 60] == 1 and found.suggested(0.9, ()) == [None] * 4
    precision, coverage = found.joint([None] * 4)
    assert math.isnan(precision) and coverage == 0


def test_nan_confidence_counts_as_none() -> None:
    found = tallied(*(np.resize(each, 100) for each in ([np.nan], [1], [1])))
    assert found.counts[1, 0, 1] == 100 and found.sums.sum() == 0
