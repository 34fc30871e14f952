"""Supervised losses on one shared log-softmax, and the distance from a teacher."""

from semiseg.losses.distillation import distillation_loss
from semiseg.losses.segmentation import SegmentationLoss

__all__ = ["SegmentationLoss", "distillation_loss"]
