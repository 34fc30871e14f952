"""What turns images into class probabilities, and what can be put around it: precision, size, augmentation.

Each wrapper is a predictor itself, so that any of them can stand around any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from semiseg.data.classes import ClassMap

ORIENTATIONS = ((), (-1,), (-2,), (-2, -1))  # axes that are mirrored: none, left-right, top-bottom, both
SCALES = (0.75, 1.0, 1.25)


class Predictor(Protocol):
    """A trained network, or an exported one."""

    @property
    def classes(self) -> ClassMap:
        """Names and colours, in the order of the channels."""
        ...

    def probabilities(self, images: Tensor) -> Tensor:
        """uint8 RGB [B, 3, H, W] to float32 [B, C, H, W] on the predictor's device."""
        ...


class Autocast:
    """A network in the precision that it was trained and validated in."""

    def __init__(self, inner: Predictor, device: torch.device, dtype: torch.dtype) -> None:
        self.inner, self.device, self.dtype = inner, device, dtype

    @property
    def classes(self) -> ClassMap:
        return self.inner.classes

    def probabilities(self, images: Tensor) -> Tensor:
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            return self.inner.probabilities(images)


class Resized:
    """Images resized so that their longer side has `size` pixels; probabilities at the size of the images."""

    def __init__(self, inner: Predictor, size: int) -> None:
        self.inner, self.size = inner, size

    @property
    def classes(self) -> ClassMap:
        return self.inner.classes

    def probabilities(self, images: Tensor) -> Tensor:
        return at_scale(self.inner, images, self.size / max(images.shape[-2:]))


class Averaged:
    """Test-time augmentation: the mean of the probabilities over several views of the images.

    `views` holds functions of a predictor and images [B, 3, H, W] that give probabilities [B, C, H, W], each aligned
    with the images again.
    """

    def __init__(self, inner: Predictor, views: Sequence[Callable[[Predictor, Tensor], Tensor]]) -> None:
        self.inner, self.views = inner, views

    @property
    def classes(self) -> ClassMap:
        return self.inner.classes

    def probabilities(self, images: Tensor) -> Tensor:
        return mean(view(self.inner, images) for view in self.views)


def mean(tensors: Iterator[Tensor]) -> Tensor:
    """The mean of tensors of one shape, of which only the sum and the newest are held."""
    total, count = next(tensors).clone(), 1
    for tensor in tensors:
        total += tensor
        count += 1
    return total / count


def mirrored(axes: tuple[int, ...]) -> Callable[[Predictor, Tensor], Tensor]:
    """The view of images that are mirrored along some axes."""
    return lambda inner, images: inner.probabilities(images.flip(axes)).flip(axes)


def scaled(scale: float) -> Callable[[Predictor, Tensor], Tensor]:
    """The view of images at another scale."""
    return lambda inner, images: at_scale(inner, images, scale)


def at_scale(inner: Predictor, images: Tensor, scale: float) -> Tensor:
    """Probabilities predicted on images of another scale, back at their own size; bilinear both ways."""
    height, width = images.shape[-2:]
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    if size == (height, width):
        return inner.probabilities(images)
    # Of floats: not every device resizes bytes, and the rounding is what an image file would hold.
    resized = interpolate(images.float(), size=size, mode="bilinear", align_corners=False).round().byte()
    return interpolate(inner.probabilities(resized), size=(height, width), mode="bilinear", align_corners=False)


TTA: dict[str, Callable[[Predictor], Predictor]] = {
    "none": lambda inner: inner,
    "flips": lambda inner: Averaged(inner, [mirrored(axes) for axes in ORIENTATIONS]),
    "multiscale": lambda inner: Averaged(inner, [scaled(scale) for scale in SCALES]),
}
