"""The whole patch at one size: the augmentation of the original lightweight model."""

from __future__ import annotations

import numpy as np

from semiseg.aug import functional as F
from semiseg.aug.base import Augment


class ResizeFlip(Augment):
    """The whole patch resized to the crop size (its proportions are not kept), mirrored half of the time."""

    def __init__(self, flip: bool = True) -> None:
        self.flip = flip

    def __call__(
        self, image: np.ndarray, mask: np.ndarray, rng: np.random.Generator, crop_size: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """One sample [crop_size, crop_size]."""
        image, mask = F.resize(image, mask, crop_size, crop_size)
        return F.random_orientation(image, mask, rng, flip=self.flip, vertical_flip=False, rotate=False)
