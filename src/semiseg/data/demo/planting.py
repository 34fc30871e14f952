"""Where plants stand: rows and thickets, with the gaps, jitter and undergrowth of a real plantation."""

from collections.abc import Callable, Iterator

import cv2
import numpy as np

from semiseg.data.demo.canvas import GRASS, SALAK, TREE, Canvas, rgb, tint
from semiseg.data.demo.crowns import Crown, PalmShape, broadleaf, palm
from semiseg.data.demo.flight import Flight
from semiseg.data.demo.noise import Field
from semiseg.data.demo.plots import Land, Plot

PALM_LEAF, SALAK_LEAF, BROAD_LEAF = rgb(88, 106, 58), rgb(80, 98, 54), rgb(78, 96, 48)
DEAD_LEAF = rgb(148, 120, 84)

Point = tuple[float, float]


class Nursery:
    """The plants of one flight: a few crowns of each kind, every plant set out turned, scaled and tinted anew."""

    def __init__(self, rng: np.random.Generator, flight: Flight, scale: float) -> None:
        self.rng = rng
        self.season = tint(1.2 - 0.3 * flight.wetness, 1, rng.uniform(0.7, 0.95))  # dry leaves are paler
        self.palms = [palm(rng, tall_palm(rng), scale) for _ in range(3)]
        self.salaks = [palm(rng, salak_palm(rng), scale) for _ in range(5)]
        self.trees = [broadleaf(rng, rng.uniform(2.0, 3.0), rng.uniform(2, 4), scale) for _ in range(2)]
        self.shrubs = [broadleaf(rng, rng.uniform(0.5, 0.8), 0.1, scale) for _ in range(3)]

    def plant(self, canvas: Canvas, x: float, y: float, crowns: list[Crown], leaf: Field, class_id: int) -> None:
        """One plant of a kind at (x, y) pixels."""
        rng = self.rng
        crown = crowns[rng.integers(len(crowns))].turned(rng.uniform(0, 2 * np.pi), rng.uniform(0.8, 1.1))
        hue = self.season * tint(rng.uniform(0.85, 1.2), 1, rng.uniform(0.85, 1.15)) * rng.uniform(0.75, 1.2)
        canvas.stamp(x, y, crown.tinted(leaf * hue, DEAD_LEAF), class_id)


def tall_palm(rng: np.random.Generator) -> PalmShape:
    return PalmShape(
        radius=rng.uniform(2.6, 3.3),
        trunk=rng.uniform(3.0, 4.5),
        fronds=int(rng.integers(22, 32)),
        leaflet=rng.uniform(0.4, 0.58),
        arch=rng.uniform(0.25, 0.45),
        dead=rng.uniform(0, 0.12),
    )


def salak_palm(rng: np.random.Generator) -> PalmShape:
    return PalmShape(
        radius=rng.uniform(1.1, 1.6),
        trunk=rng.uniform(0.5, 0.8),
        fronds=int(rng.integers(9, 15)),
        leaflet=rng.uniform(0.28, 0.4),
        arch=rng.uniform(0.7, 1.0),
        dead=rng.uniform(0.05, 0.2),
    )


def rows(rng: np.random.Generator, plot: Plot, spacing: float, missing: float) -> Iterator[Point]:
    """Points (along, across) of a staggered planting, jittered; `missing` is the share of plants that died."""
    (u, v), (width, depth) = plot.center, plot.size
    phase = rng.uniform(0, 1)
    for row, across in enumerate(np.arange(-depth / 2 + 0.4 * spacing, depth / 2 - 0.2 * spacing, 0.87 * spacing)):
        offset = (phase + 0.5 * (row % 2)) % 1
        for along in np.arange(-width / 2 + offset * spacing + 0.3, width / 2 - 0.3, spacing):
            if rng.random() >= missing:
                jitter = rng.normal(0, 0.09 * spacing, 2)
                yield u + along + jitter[0], v + across + jitter[1]


def set_out(
    canvas: Canvas,
    land: Land,
    free: Field,
    points: Iterator[Point],
    plant: Callable[[float, float], None],
) -> None:
    """Call `plant` at the pixels of `points` that are `free` [H, W]; outside the image its nearest pixel tells."""
    ratio = canvas.scale / land.scale
    for along, across in points:
        x, y = (ratio * c for c in land.pixel(along, across))
        column, row = min(max(int(x), 0), canvas.shape[1] - 1), min(max(int(y), 0), canvas.shape[0] - 1)
        if free[row, column] > 0.5:
            plant(x, y)


def close_thickets(canvas: Canvas) -> None:
    """Count the gaps inside salak thickets to them: from the air, and to an annotator, a thicket is one area."""
    size = int(0.8 * canvas.scale) | 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    closed = cv2.morphologyEx((canvas.ids == SALAK).astype(np.uint8), cv2.MORPH_CLOSE, kernel) > 0
    canvas.ids[closed & (canvas.ids == GRASS)] = SALAK


def shrubs(canvas: Canvas, rng: np.random.Generator, nursery: Nursery, free: Field, count: int) -> None:
    """Wild bushes at random; they belong to the undergrowth."""
    for x, y in rng.uniform(0, 1, (count, 2)) * canvas.shape[::-1]:
        if free[int(y), int(x)] > 0.5:
            nursery.plant(canvas, x, y, nursery.shrubs, BROAD_LEAF, GRASS)


def trees(canvas: Canvas, nursery: Nursery, x: float, y: float) -> None:
    nursery.plant(canvas, x, y, nursery.trees, BROAD_LEAF, TREE)


def palms(canvas: Canvas, nursery: Nursery, x: float, y: float) -> None:
    nursery.plant(canvas, x, y, nursery.palms, PALM_LEAF, TREE)


def salaks(canvas: Canvas, nursery: Nursery, x: float, y: float) -> None:
    nursery.plant(canvas, x, y, nursery.salaks, SALAK_LEAF, SALAK)
