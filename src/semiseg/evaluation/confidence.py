"""How far confidence can be trusted: calibration, and what a threshold keeps of each class.

Everything comes from one histogram of the confidences by predicted class and by whether they are right, so that no
probability outlives its batch.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from semiseg.contracts import IGNORE_INDEX

CALIBRATION_BINS = 15  # Guo et al., "On Calibration of Modern Neural Networks", ICML 2017
STEPS = 100  # thresholds 0.00 to 0.99
BINS = 300  # of the histogram: the smallest number that both divide
UNIT = 2**24  # a float32 below 1 is a whole number of these: sums are exact and do not depend on their order
LEAST_KEPT = 0.01  # of a class's pixels, below which the precision of a threshold is chance


class ConfidenceTally:
    """Counts the confidences of batches on the device, [C, BINS, wrong or right]."""

    def __init__(self, num_classes: int, device: torch.device) -> None:
        self.num_classes = num_classes
        self.counts = torch.zeros(num_classes * BINS * 2 + 1, dtype=torch.int64, device=device)
        self.sums = torch.zeros(BINS + 1, dtype=torch.int64, device=device)  # of confidences, in 1 / UNIT

    def update(self, confidence: Tensor, prediction: Tensor, target: Tensor) -> None:
        """Confidence of the predicted class, that class, and the truth, [B, H, W] each. Ignored pixels are left out."""
        confidence = confidence.nan_to_num(0.0)
        ignored = target == IGNORE_INDEX
        # Bin k holds (k / BINS, (k + 1) / BINS]: what exceeds a threshold starts with a bin.
        bins = (confidence * BINS).ceil().long().sub(1).clamp(0, BINS - 1)
        cells = (prediction * BINS + bins) * 2 + (prediction == target)
        cells = cells.masked_fill(ignored, len(self.counts) - 1)
        self.counts += torch.bincount(cells.flatten(), minlength=len(self.counts))
        units = (confidence * UNIT).long()
        self.sums.index_add_(0, bins.masked_fill(ignored, BINS).flatten(), units.flatten())

    def result(self) -> Confidence:
        """The histogram so far, on the CPU."""
        counts = self.counts[:-1].view(self.num_classes, BINS, 2).cpu().numpy()
        return Confidence(counts, self.sums[:-1].cpu().numpy() / UNIT)


@dataclass(frozen=True)
class Confidence:
    """What the histogram says. Thresholds are exceeded, as in the pseudo-labelers: a pixel at one is not kept."""

    counts: np.ndarray  # [C, BINS, 2] int64 pixels by predicted class, confidence, and wrong or right
    sums: np.ndarray  # [BINS] float64 sum of the confidences

    @cached_property
    def pixels(self) -> np.ndarray:
        """Pixels of each calibration bin, [15]."""
        return self.counts.sum((0, 2)).reshape(CALIBRATION_BINS, -1).sum(1)

    @property
    def pixels_predicted(self) -> np.ndarray:
        """Pixels predicted as each class, [C]."""
        return self.counts.sum((1, 2))

    @cached_property
    def accuracy(self) -> np.ndarray:
        """Share of right pixels of each calibration bin, [15]; NaN in an empty one."""
        return _share(self.counts[..., 1].sum(0).reshape(CALIBRATION_BINS, -1).sum(1), self.pixels)

    @cached_property
    def mean_confidence(self) -> np.ndarray:
        """Mean confidence of each calibration bin, [15]; NaN in an empty one."""
        return _share(self.sums.reshape(CALIBRATION_BINS, -1).sum(1), self.pixels)

    @property
    def ece(self) -> float:
        """Expected calibration error: the mean distance of accuracy and confidence, bins weighted by their pixels."""
        gaps = np.abs(self.accuracy - self.mean_confidence) * self.pixels
        return float(np.nansum(gaps) / self.pixels.sum())

    @property
    def overconfidence(self) -> float:
        """Mean confidence minus accuracy over all pixels: above zero the network believes too much in itself."""
        return float((self.sums.sum() - self.counts[..., 1].sum()) / self.pixels.sum())

    @property
    def thresholds(self) -> np.ndarray:
        """0.00 to 0.99, [100]."""
        return np.arange(STEPS) / STEPS

    @cached_property
    def kept(self) -> np.ndarray:
        """Wrong and right pixels of each predicted class above each threshold, [C, 100, 2]."""
        by_step = self.counts.reshape(len(self.counts), STEPS, -1, 2).sum(2)
        return by_step[:, ::-1].cumsum(1)[:, ::-1]

    @cached_property
    def precision(self) -> np.ndarray:
        """Share of right pixels among those kept, [C, 100]; NaN where none is."""
        return _share(self.kept[..., 1], self.kept.sum(2))

    @cached_property
    def coverage(self) -> np.ndarray:
        """Share of the pixels predicted as a class that are kept, [C, 100]; NaN for a class never predicted."""
        kept = self.kept.sum(2)
        return _share(kept, np.broadcast_to(kept[:, :1], kept.shape))

    def suggested(self, precision: float, never: Collection[int]) -> list[float | None]:
        """The lowest threshold of each class whose kept pixels are right to `precision`, that keeps 1 % of them.

        None (never a pseudo label) for the classes in `never`, and where no threshold does.
        """
        good = (self.precision >= precision) & (self.coverage >= LEAST_KEPT)
        return [
            None if number in never or not row.any() else float(self.thresholds[row.argmax()])
            for number, row in enumerate(good)
        ]

    def joint(self, thresholds: list[float | None]) -> tuple[float, float]:
        """Precision and coverage over all pixels when each class has its threshold; NaN precision of no kept pixel."""
        places = [(number, round(each * STEPS)) for number, each in enumerate(thresholds) if each is not None]
        wrong, right = sum((self.kept[place] for place in places), start=np.zeros(2, np.int64))
        kept = int(wrong + right)
        return float(right / kept) if kept else float("nan"), float(kept / self.pixels.sum())


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """A quotient that is NaN where nothing is divided by."""
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)
