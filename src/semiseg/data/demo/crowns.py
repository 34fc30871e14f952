"""Crowns seen from above: palms drawn leaflet by leaflet, and broad-leaved trees made of leaf clumps."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from semiseg.data.demo.canvas import Sprite
from semiseg.data.demo.noise import Field, fractal, smoothstep

GOLDEN_ANGLE = 2.39996  # between two successive fronds of a palm


@dataclass(frozen=True)
class Crown:
    """A crown without colour, of one particular plant; `tinted` gives it the colours of a flight."""

    layers: Field  # [h, w, 4] metres above the ground, brightness, dryness 0..1, and 1 inside the outline

    @classmethod
    def of(cls, height: Field, tone: Field, dry: Field, gap: float) -> Crown:
        """A crown of leaves where `height` > 0; the outline closes gaps narrower than `gap` pixels."""
        return cls(cv2.merge([height, tone, dry, outline(height > 0, gap).astype(np.float32)]))

    def turned(self, angle: float, scale: float) -> Crown:
        """The crown rotated by `angle` radians and scaled, its heights with it."""
        size = int(self.layers.shape[0] * scale)
        cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
        old, new = (self.layers.shape[0] - 1) / 2, (size - 1) / 2
        matrix = np.array([[cos, -sin, old - (cos - sin) * new], [sin, cos, old - (sin + cos) * new]])
        layers = cv2.warpAffine(self.layers, matrix, (size, size), flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP)
        layers[..., 0] *= scale
        return Crown(layers)

    def tinted(self, leaf: Field, dead: Field) -> Sprite:
        """The crown with leaves between the linear colours `leaf` and `dead`, each [3]."""
        height, tone, dry, inside = cv2.split(self.layers)
        brown = tone * dry
        albedo = cv2.merge([tone * green + brown * (dull - green) for green, dull in zip(leaf, dead, strict=True)])
        return Sprite(albedo, height, height > 0, inside > 0)


@dataclass(frozen=True)
class PalmShape:
    """What tells one kind of palm from another. Lengths in metres."""

    radius: float
    trunk: float  # height of the crown's centre
    fronds: int
    leaflet: float  # length of the longest leaflet
    arch: float  # how far the fronds rise before they droop, as a share of the radius
    dead: float  # share of the fronds that are dry


def palm(rng: np.random.Generator, shape: PalmShape, scale: float) -> Crown:
    """A crown drawn from its lowest, oldest frond to the youngest one at the centre."""
    side = int(2.1 * (shape.radius + 0.3) * scale) | 1
    layers = np.zeros((side, side, 3), np.float32)  # height, tone, dry
    start = rng.uniform(0, 2 * np.pi)
    for number in range(shape.fronds):
        age = 1 - number / shape.fronds  # 1 the oldest .. 0 the youngest
        length = shape.radius * (0.45 + 0.55 * min(1.0, 2.2 * age)) * rng.uniform(0.86, 1.0)
        angle = start + GOLDEN_ANGLE * number + rng.normal(0, 0.12)
        withered = age > 0.75 and rng.random() < 4 * shape.dead  # always the oldest ones
        dry = rng.uniform(0.6, 1) if withered else rng.uniform(0, 0.18)
        draw_frond(layers, rng, shape, scale, (angle, length, age, dry))
    return Crown.of(layers[..., 0], layers[..., 1], layers[..., 2], gap=0.22 * scale)


def draw_frond(
    layers: Field, rng: np.random.Generator, shape: PalmShape, scale: float, frond: tuple[float, float, float, float]
) -> None:
    """Draw one frond (angle, length, age, dryness) over `layers` [h, w, 3]: leaflets along an arched midrib."""
    angle, length, age, dry = frond
    along = np.linspace(0.06, 1, max(6, int(length * scale / 4)))
    heading = angle + rng.normal(0, 0.35) * along**2
    direction = np.stack([np.cos(heading), np.sin(heading)], axis=1)
    spine = layers.shape[0] / 2 + length * scale * along[:, None] * direction
    rise = shape.arch * (1.6 - age) * along - (0.35 + 0.5 * age) * shape.arch * along**2
    spine_height = shape.trunk + length * (rise - 0.12 * age) + 0.1
    reach = shape.leaflet * np.sin(np.pi * (0.10 + 0.86 * along)) ** 0.7 * scale
    tone = (1.08 - 0.30 * age) * rng.uniform(0.85, 1.15, (len(along), 2))
    for side, turn in enumerate((-1, 1)):
        lean = heading + turn * (1.0 - 0.6 * along + rng.normal(0, 0.09, len(along)))
        leaf = np.stack([np.cos(lean), np.sin(lean)], axis=1) * (reach * rng.uniform(0.85, 1.1, len(along)))[:, None]
        for share, drop, bright in ((1.0, 0.22, 0.82), (0.6, 0.06, 1.0)):
            ends = np.stack([spine, spine + share * leaf], axis=1)
            ends = (ends * 8).astype(np.int32)  # eighths of a pixel
            for line, z, t in zip(ends, spine_height - drop, tone[:, side] * bright, strict=True):
                cv2.line(layers, line[0], line[1], (float(z), float(t), dry), 2, cv2.LINE_8, 3)
    midrib = (float(spine_height.mean()) + 0.05, 1.35 - 0.2 * age, max(dry, 0.25))
    cv2.polylines(layers, [(spine * 8).astype(np.int32)], False, midrib, 1, cv2.LINE_8, 3)


def broadleaf(rng: np.random.Generator, radius: float, trunk: float, scale: float) -> Crown:
    """A rounded crown: clumps of leaves as domes on a larger dome, ragged at the edge."""
    side = int(2.6 * radius * scale + 4) | 1
    height = np.zeros((side, side), np.float32)
    tone = np.ones((side, side), np.float32)
    for _ in range(int(26 + 10 * radius)):
        distance, angle = radius * 0.85 * np.sqrt(rng.random()), rng.uniform(0, 2 * np.pi)
        size = radius * rng.uniform(0.16, 0.34)
        half = int(size * scale) + 1
        column, row = (int(side / 2 + distance * f(angle) * scale) for f in (np.cos, np.sin))
        box = np.s_[row - half : row + half, column - half : column + half]
        y, x = np.ogrid[-half:half, -half:half]
        dome = np.sqrt(np.maximum(size**2 - (x**2 + y**2) / scale**2, 0))
        base = trunk + 0.75 * np.sqrt(radius**2 - distance**2) - 0.4 * size
        higher = (dome > 0) & (base + dome > height[box])
        height[box][higher] = (base + dome)[higher]
        tone[box][higher] = rng.uniform(0.8, 1.15)
    leaves = fractal(rng, height.shape, 0.35 * scale, 0.9)
    body = cv2.blur((height > 0).astype(np.float32), (5, 5)) + 0.14 * leaves > 0.6
    height = np.where(body, height + 0.10 * leaves, 0).astype(np.float32)
    dry = 0.12 * smoothstep(0.5, 2.0, leaves)
    return Crown.of(height, tone * np.clip(1 + 0.22 * leaves, 0.4, 1.7), dry, gap=0.16 * scale)


def outline(drawn: NDArray[np.bool_], gap: float) -> NDArray[np.bool_]:
    """`drawn` [h, w] with the gaps narrower than `gap` pixels closed: what an annotator would trace."""
    size = 2 * round(gap / 2) + 3
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    return cv2.morphologyEx(drawn.astype(np.uint8), cv2.MORPH_CLOSE, kernel) > 0
