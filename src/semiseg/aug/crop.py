"""Random crops, with or without scaling, flips and colour."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from semiseg.aug import functional as F
from semiseg.aug.base import Augment
from semiseg.errors import ConfigError, DataError

LARGEST_SIDE = 16_384  # pixels: a batch of larger ones fits no memory


class RandomCrop(Augment):
    """A random square of a patch: `aug=none`, `basic` and `enhanced` differ only in what is switched on.

    `scale_range` (least, greatest) scales each patch by a factor drawn uniformly before the crop, null does not. `pad`
    lets a crop be larger than its patch. `color` is the strength of the jitter in [0, 1], 0 leaves colours alone.
    Raises `ConfigError` for ranges that make no sense.
    """

    def __init__(
        self,
        flip: bool = False,
        vertical_flip: bool = False,
        rotate: bool = False,
        scale_range: Sequence[float] | None = None,
        pad: bool = False,
        color: float = 0.0,
    ) -> None:
        self.flip, self.vertical_flip, self.rotate = flip, vertical_flip, rotate
        self.scale_range = None if scale_range is None else tuple(float(factor) for factor in scale_range)
        self.pad = pad
        self.color = color
        self._check_settings()

    def _check_settings(self) -> None:
        scales = self.scale_range
        if scales is not None and not (len(scales) == 2 and 0 < scales[0] <= scales[1]):
            raise ConfigError(f"aug.scale_range={list(scales)}: give [least, greatest] above 0, or null for no scaling")
        if not 0 <= self.color <= 1:
            raise ConfigError(f"aug.color={self.color}: give a strength from 0 (off) to 1")

    def __call__(
        self, image: np.ndarray, mask: np.ndarray, rng: np.random.Generator, crop_size: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """One sample; `DataError` where the crop is larger than the patch and `pad` is off."""
        self._check_size(image, crop_size)
        image, mask = F.scaled_crop(image, mask, crop_size, self._draw_scale(rng), rng)
        if self.color > 0:
            image = F.jitter_color(image, self.color, rng)
        return F.random_orientation(
            image, mask, rng, flip=self.flip, vertical_flip=self.vertical_flip, rotate=self.rotate
        )

    def _draw_scale(self, rng: np.random.Generator) -> float:
        if self.scale_range is None:
            return 1.0
        least, greatest = self.scale_range
        return rng.uniform(least, greatest)

    def _check_size(self, image: np.ndarray, crop_size: int) -> None:
        height, width = image.shape[:2]
        if not self.pad and min(height, width) < crop_size:
            raise DataError(
                f"an image of {width}x{height} pixels is smaller than the crop of {crop_size}: "
                f"use trainer.crop_size={min(height, width)}, or aug.pad=true to fill up what is missing"
            )


class MultiScaleCrop(RandomCrop):
    """Random crops whose labelled batches are resized to one random size a batch (V3's multi-scale training).

    `size_min` and `size_max` are sides in pixels, drawn in multiples of 16: convolutions are tuned anew for each
    size; null stands for the crop size and 1.5 times the crop size (256 to 384 at a crop of 256). Unlabelled batches
    stay at the crop size. The other settings are those of `RandomCrop`.
    """

    def __init__(
        self,
        size_min: int | None = None,
        size_max: int | None = None,
        flip: bool = True,
        vertical_flip: bool = False,
        rotate: bool = False,
        scale_range: Sequence[float] | None = (0.5, 1.5),
        pad: bool = False,
        color: float = 0.0,
    ) -> None:
        super().__init__(flip, vertical_flip, rotate, scale_range, pad, color)
        self.size_min, self.size_max = size_min, size_max
        for name, size in (("size_min", size_min), ("size_max", size_max)):
            if size is not None and size > LARGEST_SIDE:
                raise ConfigError(f"aug.{name}={size}: give a side of at most {LARGEST_SIDE} pixels, or null")

    def batch_side(self, rng: np.random.Generator, crop_size: int) -> int:
        """A multiple of 16 between the two sizes; `ConfigError` where there is none."""
        smallest = crop_size if self.size_min is None else self.size_min
        largest = crop_size * 3 // 2 if self.size_max is None else self.size_max
        sides = np.arange(-(-smallest // 16) * 16, largest + 1, 16)
        if smallest <= 0 or len(sides) == 0:
            raise ConfigError(
                f"no multiple of 16 lies between aug.size_min={smallest} and aug.size_max={largest} (null: "
                f"trainer.crop_size={crop_size} and 1.5 times it): set both, or aug=basic for one size"
            )
        return int(rng.choice(sides))
