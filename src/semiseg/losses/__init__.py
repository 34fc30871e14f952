"""Supervised losses on one shared log-softmax."""

from semiseg.losses.segmentation import SegmentationLoss

__all__ = ["SegmentationLoss"]
