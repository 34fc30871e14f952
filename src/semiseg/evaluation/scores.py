"""The figures of one system on one pool: counted batch by batch on the device, then read as metrics."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from semiseg.engine.metrics import Metrics, confusion_matrices
from semiseg.evaluation.boundary import boundary_counts
from semiseg.evaluation.confidence import Confidence, ConfidenceTally

MEASURES = ("iou", "precision", "recall", "f1")


class Tally:
    """Adds up what the figures are made of. Its size depends on classes and sources, not on the number of images."""

    def __init__(self, num_sources: int, num_classes: int, device: torch.device) -> None:
        self.num_classes = num_classes
        self.matrices = torch.zeros(num_sources, num_classes, num_classes, dtype=torch.int64, device=device)
        self.boundary = torch.zeros(num_classes, 2, dtype=torch.int64, device=device)
        self.confidence = ConfidenceTally(num_classes, device)

    def update(self, probabilities: Tensor, target: Tensor, sources: Tensor, bands: list[int]) -> None:
        """Probabilities [B, C, H, W], truth [B, H, W] int64; of each image its source [B] and its contour's width."""
        confidence, prediction = probabilities.max(dim=1)
        self.matrices.index_add_(0, sources, confusion_matrices(prediction, target, self.num_classes))
        for band in set(bands):
            rows = [number for number, each in enumerate(bands) if each == band]
            self.boundary += boundary_counts(prediction[rows], target[rows], band, self.num_classes)
        self.confidence.update(confidence, prediction, target)

    def result(self, name: str, excluded: tuple[int, ...]) -> Scores:
        """The figures so far."""
        matrices, boundary = self.matrices.cpu().numpy(), self.boundary.cpu().numpy()
        return Scores(name, matrices, boundary, self.confidence.result(), excluded)


@dataclass(frozen=True)
class Scores:
    """Every figure of one system. The means leave out the classes in `excluded`, unless their name ends in _all."""

    name: str
    matrices: np.ndarray  # [S, C, C] int64 of each source, rows truth
    boundary: np.ndarray  # [C, 2] int64 intersection and union of the contour bands
    confidence: Confidence
    excluded: tuple[int, ...] = ()

    @cached_property
    def metrics(self) -> Metrics:
        """Of all sources together."""
        return Metrics(self.matrices.sum(0), self.excluded)

    @cached_property
    def boundary_iou(self) -> np.ndarray:
        """Boundary IoU of each class, [C]; NaN for a class absent from truth and prediction."""
        both, union = self.boundary.T
        return np.divide(both, union, out=np.full(len(union), np.nan), where=union > 0)

    def values(self) -> dict[str, float]:
        """The figures of the whole pool, name -> value; NaN where one is undefined."""
        return means(self.metrics) | {
            "boundary_miou": mean_of(self.boundary_iou, self.excluded),
            "ece": self.confidence.ece,
            "overconfidence": self.confidence.overconfidence,
        }


def means(metrics: Metrics) -> dict[str, float]:
    """What a confusion matrix says in one number each."""
    return {
        "miou": metrics.miou,
        "miou_all": metrics.miou_all,
        "accuracy": metrics.accuracy,
        "mean_accuracy": mean_of(metrics.recall, metrics.excluded),
        "fw_iou": metrics.frequency_weighted_iou,
    }


def mean_of(values: np.ndarray, excluded: tuple[int, ...]) -> float:
    """The mean of the classes that count and have a value; NaN where there is none."""
    counted = np.delete(values, list(excluded))
    return float(np.nanmean(counted)) if np.isfinite(counted).any() else float("nan")
