"""How the land is divided: plots of a plantation in a frame turned against the image."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from semiseg.data.demo.noise import Field, smooth_noise


@dataclass(frozen=True)
class Plot:
    number: int
    center: tuple[float, float]  # along, across, metres in the turned frame
    size: tuple[float, float]


@dataclass
class Land:
    """The turned frame and its plots. `along` and `across` are metres from the scene's centre, [H, W]."""

    along: Field
    across: Field
    angle: float
    scale: float
    labels: NDArray[np.uint8]  # [H, W] plot number, 0 on the paths between
    plots: list[Plot]  # those in sight, the largest first
    edges: list[float]  # `across` of the lines between the bands of plots

    def pixel(self, along: float, across: float) -> tuple[float, float]:
        """(x, y) of a point of the frame."""
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        rows, columns = self.labels.shape
        x, y = along * cos - across * sin, along * sin + across * cos
        return columns / 2 + x * self.scale, rows / 2 + y * self.scale

    def cover(self, plots: list[Plot]) -> Field:
        """1 on some plots and 0 elsewhere, [H, W]."""
        chosen = np.zeros(256, np.float32)
        chosen[[plot.number for plot in plots]] = 1
        return chosen[self.labels]


def divide(rng: np.random.Generator, shape: tuple[int, int], scale: float) -> Land:
    """Bands of plots of about 10 by 12 m at a random angle, their borders as wobbly as hand-made ones."""
    angle = rng.uniform(0, np.pi)
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    y, x = (y - shape[0] / 2) / scale, (x - shape[1] / 2) / scale
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    land = Land(x * cos + y * sin, y * cos - x * sin, angle, scale, np.zeros(shape, np.uint8), [], [])
    reach = float(np.hypot(*shape)) / scale / 2
    plots, across = [], -reach - rng.uniform(0, 8)
    while across < reach:
        depth, along = rng.uniform(9, 13), -reach - rng.uniform(0, 8)
        land.edges.append(across)
        while along < reach:
            width = rng.uniform(9, 15)
            plots.append(Plot(len(plots) + 1, (along + width / 2, across + depth / 2), (width, depth)))
            draw_plot(land, plots[-1])
            along += width
        across += depth
    land.labels = wobble(rng, land.labels, scale)
    area = np.bincount(land.labels.ravel(), minlength=len(plots) + 1)
    land.plots = sorted((p for p in plots if area[p.number] > 8 * scale**2), key=lambda p: -area[p.number])
    return land


def draw_plot(land: Land, plot: Plot) -> None:
    path = 0.5  # metres left free along every border
    (u, v), (width, depth) = plot.center, (plot.size[0] / 2 - path, plot.size[1] / 2 - path)
    corners = [land.pixel(u + a * width, v + b * depth) for a, b in ((-1, -1), (1, -1), (1, 1), (-1, 1))]
    cv2.fillPoly(land.labels, [np.array(corners, np.int32)], plot.number)


def wobble(rng: np.random.Generator, labels: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    """`labels` [H, W] pushed about by up to half a metre."""
    y, x = np.mgrid[: labels.shape[0], : labels.shape[1]].astype(np.float32)
    for coordinate in (x, y):
        for cell, amount in ((5, 0.35), (1.2, 0.12)):
            coordinate += amount * scale * smooth_noise(rng, labels.shape, cell * scale)
    pushed = cv2.remap(labels, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
    return pushed.astype(np.uint8, copy=False)
