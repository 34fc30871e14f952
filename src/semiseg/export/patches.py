"""Real patches of the run's data: those that files are checked on, and those that INT8 is calibrated on."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from semiseg.data.build import DataBundle
from semiseg.data.dataset import PatchReader
from semiseg.errors import DataError

SMALLEST = 33  # pixels a side that the networks need


def spread(patches: np.ndarray, count: int) -> np.ndarray:
    """At most `count` of the patches, evenly over all of them."""
    return patches[np.linspace(0, len(patches) - 1, min(count, len(patches))).round().astype(int)]


def read_images(bundle: DataBundle, patches: np.ndarray) -> list[Tensor]:
    """Patches as uint8 RGB [3, H, W], each in its own size. Those that cannot be read are passed over.

    Raises DataError where none is left.
    """
    reader = PatchReader(bundle.index, bundle.classes, with_masks=False)
    images, last = [], None
    for patch in patches.tolist():
        try:
            images.append(torch.from_numpy(reader.read(patch)[0]).permute(2, 0, 1).contiguous())
        except DataError as error:
            last = error
    if not images:
        raise last or DataError(f"{bundle.index.root} has no patches to read.")
    return images


def stack_resized(images: Sequence[Tensor], count: int, height: int, width: int) -> Tensor:
    """`count` images, repeated where there are fewer, in one size: uint8 [count, 3, height, width]."""
    chosen = [images[number % len(images)].permute(1, 2, 0).numpy() for number in range(count)]
    resized = [cv2.resize(image, (max(width, SMALLEST), max(height, SMALLEST))) for image in chosen]
    return torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2).contiguous()


def check_batches(images: Sequence[Tensor]) -> list[Tensor]:
    """One image in its own size, and three larger ones of another shape."""
    height, width = images[0].shape[-2:]
    return [stack_resized(images, 1, height, width), stack_resized(images, 3, height * 5 // 4, width * 3 // 2)]
