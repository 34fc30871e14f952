"""What an augmentation is: a small picklable object that turns a patch and its mask into a square training sample."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np


@runtime_checkable
class Augment(Protocol):
    """Base of every augmentation; inherit from it to get `batch_side`.

    All randomness comes from the generator that is passed in, so a sample depends on its position in the stream alone
    and not on the worker that makes it. Images are uint8 RGB [H, W, 3], masks uint8 class ids [H, W], 255 = ignored.
    """

    def __call__(
        self, image: np.ndarray, mask: np.ndarray, rng: np.random.Generator, crop_size: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Image [crop_size, crop_size, 3] and mask [crop_size, crop_size].

        Raises `DataError` for a patch it cannot make a sample of.
        """
        ...

    def batch_side(self, rng: np.random.Generator, crop_size: int) -> int:
        """Side in pixels that a whole labelled batch is resized to, drawn once a batch; the crop size by default."""
        return crop_size
