"""What a scene is drawn on: colour, height, gloss and class of every pixel, lit afterwards in one go.

Objects write their height, so that shading, cast shadows and who covers whom follow from geometry instead of being
painted by hand.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from semiseg.data.demo.noise import Field

GRASS, WATER, BUILDING, ROAD, TREE, SALAK, SOIL = range(7)
SUPERSAMPLING = 2


def rgb(red: float, green: float, blue: float) -> Field:
    """An sRGB colour 0..255 as linear reflectance, [3]."""
    return (tint(red, green, blue) / 255) ** 2.2


def tint(red: float, green: float, blue: float) -> Field:
    """A factor for each channel, [3]."""
    return np.array([red, green, blue], np.float32)


def shade(color: Field, tone: Field) -> Field:
    """A linear colour [3] under a tone [H, W], [H, W, 3]. Several times faster than broadcasting over 3 channels."""
    return cv2.merge([tone * channel for channel in color])


@dataclass
class Canvas:
    albedo: Field  # [H, W, 3] linear RGB reflectance
    height: Field  # [H, W] metres above the ground
    gloss: Field  # [H, W] light mirrored where the sun reaches
    ids: NDArray[np.uint8]  # [H, W] class ids
    scale: float  # pixels a metre

    @classmethod
    def empty(cls, shape: tuple[int, int], scale: float) -> Canvas:
        zeros = np.zeros(shape, np.float32)
        return cls(np.zeros((*shape, 3), np.float32), zeros, zeros.copy(), np.zeros(shape, np.uint8), scale)

    @property
    def shape(self) -> tuple[int, int]:
        return self.ids.shape[0], self.ids.shape[1]

    def blend(self, alpha: Field, color: Field, class_id: int | None = None) -> None:
        """Lay `color` ([3] or [H, W, 3]) over the scene; a class is set where `alpha` [H, W] covers more than half."""
        layer = color if color.ndim == 3 else np.full_like(self.albedo, color)
        self.albedo = cv2.blendLinear(self.albedo, layer, 1 - alpha, alpha)
        self.gloss *= 1 - alpha
        if class_id is not None:
            self.ids[alpha > 0.5] = class_id

    def supersampled(self) -> Canvas:
        """The same scene at twice the resolution, on which objects with sharp edges are drawn."""
        size = (self.shape[1] * SUPERSAMPLING, self.shape[0] * SUPERSAMPLING)
        albedo, height, gloss = (cv2.resize(layer, size) for layer in (self.albedo, self.height, self.gloss))
        ids = cv2.resize(self.ids, size, interpolation=cv2.INTER_NEAREST)
        return Canvas(albedo, height, gloss, ids.astype(np.uint8, copy=False), self.scale * SUPERSAMPLING)

    def stamp(self, x: float, y: float, sprite: Sprite, class_id: int) -> None:
        """Draw a sprite with its centre at (x, y) pixels, under whatever is higher than it."""
        rows, columns = sprite.height.shape
        top, left = round(y - rows / 2), round(x - columns / 2)
        y0, x0 = max(top, 0), max(left, 0)
        y1, x1 = min(top + rows, self.shape[0]), min(left + columns, self.shape[1])
        if y0 >= y1 or x0 >= x1:
            return
        here = np.s_[y0:y1, x0:x1]
        part = np.s_[y0 - top : y1 - top, x0 - left : x1 - left]
        above = sprite.height[part] > self.height[here]
        drawn = sprite.drawn[part] & above
        self.albedo[here][drawn] = sprite.albedo[part][drawn]
        self.height[here][drawn] = sprite.height[part][drawn]
        self.gloss[here][drawn] = sprite.gloss
        self.ids[here][sprite.covered[part] & above] = class_id


@dataclass
class Sprite:
    """One object, cut out. `covered` is its outline, `drawn` leaves out the gaps through which the ground shows."""

    albedo: Field  # [h, w, 3]
    height: Field  # [h, w] metres above the ground
    drawn: NDArray[np.bool_]  # [h, w]
    covered: NDArray[np.bool_]  # [h, w]
    gloss: float = 0.0
