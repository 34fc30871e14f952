"""Segmentation metrics, all from one confusion matrix."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from semiseg.contracts import IGNORE_INDEX


def confusion_matrices(prediction: Tensor, target: Tensor, num_classes: int) -> Tensor:
    """One matrix an image, [B, H, W] x [B, H, W] -> [B, C, C] int64, rows truth and columns prediction.

    Pixels of 255 go to an extra bin that is cut off, which spares a boolean mask and its synchronisation.
    """
    batch, bins = len(target), num_classes * num_classes + 1
    cell = torch.where(target == IGNORE_INDEX, bins - 1, target * num_classes + prediction)
    cell = cell.flatten(1) + bins * torch.arange(batch, device=cell.device)[:, None]
    counts = torch.bincount(cell.flatten(), minlength=batch * bins).view(batch, bins)
    return counts[:, :-1].view(batch, num_classes, num_classes)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(numerator, denominator, out=np.full(len(numerator), np.nan), where=denominator > 0)


@dataclass(frozen=True)
class Metrics:
    """What a confusion matrix says; a class absent from truth and prediction has NaN and is left out of means.

    `miou` leaves out the classes in `excluded` (the background of Salak); `miou_all` counts every class.
    """

    matrix: np.ndarray  # [C, C] int64, rows truth
    excluded: tuple[int, ...] = ()

    @property
    def iou(self) -> np.ndarray:
        """Intersection over union of each class, [C]."""
        hit = np.diag(self.matrix).astype(float)
        return _ratio(hit, self.matrix.sum(0) + self.matrix.sum(1) - hit)

    @property
    def precision(self) -> np.ndarray:
        """User's accuracy of each class, [C]."""
        return _ratio(np.diag(self.matrix).astype(float), self.matrix.sum(0))

    @property
    def recall(self) -> np.ndarray:
        """Producer's accuracy of each class, [C]."""
        return _ratio(np.diag(self.matrix).astype(float), self.matrix.sum(1))

    @property
    def f1(self) -> np.ndarray:
        """Harmonic mean of precision and recall of each class, [C]."""
        hit = np.diag(self.matrix).astype(float)
        return _ratio(2 * hit, self.matrix.sum(0) + self.matrix.sum(1))

    @property
    def accuracy(self) -> float:
        """Share of the labelled pixels that are right."""
        total = self.matrix.sum()
        return float(np.trace(self.matrix) / total) if total else float("nan")

    @property
    def frequency_weighted_iou(self) -> float:
        """IoU weighted by how often each class occurs in the truth."""
        total = self.matrix.sum()
        return float(np.nansum(self.iou * self.matrix.sum(1)) / total) if total else float("nan")

    @property
    def miou(self) -> float:
        """Mean IoU of the classes that count."""
        return self._mean([c for c in range(len(self.matrix)) if c not in self.excluded])

    @property
    def miou_all(self) -> float:
        """Mean IoU of every class."""
        return self._mean(list(range(len(self.matrix))))

    @property
    def absent(self) -> list[int]:
        """Classes in neither truth nor prediction."""
        return [int(c) for c in np.flatnonzero(np.isnan(self.iou))]

    def _mean(self, classes: list[int]) -> float:
        values = self.iou[classes]
        values = values[~np.isnan(values)]
        return float(values.mean()) if len(values) else float("nan")


def metric_values(metrics: Metrics, names: tuple[str, ...], prefix: str) -> dict[str, float]:
    """Named values for the tracker; undefined ones are left out."""
    values = {
        f"{prefix}/miou": metrics.miou,
        f"{prefix}/miou_all": metrics.miou_all,
        f"{prefix}/accuracy": metrics.accuracy,
        f"{prefix}/fw_iou": metrics.frequency_weighted_iou,
    }
    for measure in ("iou", "precision", "recall", "f1"):
        for name, value in zip(names, getattr(metrics, measure), strict=True):
            values[f"{prefix}/{measure}/{name}"] = float(value)
    return {key: value for key, value in values.items() if not np.isnan(value)}
