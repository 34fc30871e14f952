"""Boundary IoU: how well the outlines of the classes are met.

Cheng et al., "Boundary IoU: Improving Object-Centric Image Segmentation Evaluation", CVPR 2021: the IoU of the pixels
that lie within a distance of the contour of their own region. Pixels are added up over the whole data set before they
are divided, as for the IoU.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d, pad

from semiseg.contracts import IGNORE_INDEX

DILATION_RATIO = 0.02  # of the image's diagonal, as in the paper
OUTSIDE = -1  # label of what lies outside an image, and of ignored pixels


def band_width(height: int, width: int) -> int:
    """Pixels from the contour that still count, of an image of this size."""
    return max(1, round(DILATION_RATIO * math.hypot(height, width)))


def near_contour(labels: Tensor, distance: int) -> Tensor:
    """Pixels with another label, or the image's edge, within `distance` rows and columns: [B, H, W] -> bool [B, H, W].

    A class's region minus its erosion by a square, which is the authors' repeated 3x3 erosion, for all classes at once:
    a window that holds one label alone has the same minimum and maximum.
    """
    values = pad(labels.float(), (distance,) * 4, value=OUTSIDE)
    extremes = torch.stack([values, -values], dim=1)  # [B, 2, H, W]
    window = 2 * distance + 1
    for kernel in ((1, window), (window, 1)):
        extremes = max_pool2d(extremes, kernel, stride=1)
    return extremes[:, 0] != -extremes[:, 1]


def boundary_counts(prediction: Tensor, target: Tensor, distance: int, num_classes: int) -> Tensor:
    """Intersection and union of the contour bands of each class, [B, H, W] x [B, H, W] -> int64 [C, 2].

    Ignored pixels count for nothing and bound the regions of truth and prediction alike, as the edge of the image does.
    """
    ignored = target == IGNORE_INDEX
    truth, predicted = target.masked_fill(ignored, OUTSIDE), prediction.masked_fill(ignored, OUTSIDE)
    in_truth, in_prediction = (near_contour(labels, distance) & ~ignored for labels in (truth, predicted))
    both = _count(truth, in_truth & in_prediction & (truth == predicted), num_classes)
    union = _count(truth, in_truth, num_classes) + _count(predicted, in_prediction, num_classes) - both
    return torch.stack([both, union], dim=1)


def _count(labels: Tensor, chosen: Tensor, num_classes: int) -> Tensor:
    """Chosen pixels of each class, [C]; the others fall into a bin that is cut off."""
    return torch.bincount(torch.where(chosen, labels, num_classes).flatten(), minlength=num_classes + 1)[:num_classes]
