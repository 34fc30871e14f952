"""Where tiles lie on an image, and how much each counts where they overlap."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

HALO = 0.25  # of the overlap, at each inner edge of a tile: it is seen by the network and then thrown away


@dataclass(frozen=True)
class Axis:
    """The tiles along one side of an image, evenly spaced.

    Weights are products of one axis each, and those of all tiles that meet in a pixel add up to 1. So nothing but the
    weighted probabilities has to be added up.
    """

    length: int  # pixels of the image
    size: int  # pixels of every tile
    starts: tuple[int, ...]
    weights: NDArray[np.float32]  # [n, size]

    def __len__(self) -> int:
        return len(self.starts)

    def step(self, number: int) -> int:
        """Pixels from the start of a tile to that of the next, or to the end of the image: none later reaches them."""
        following = self.starts[number + 1] if number + 1 < len(self) else self.length
        return following - self.starts[number]


@lru_cache(maxsize=64)  # most images of a folder share their size
def lay_out(length: int, tile: int, overlap: int) -> Axis:
    """Tiles of `tile` pixels, or one of the whole length where that is shorter, with at least `overlap` in common.

    Away from the image's border a tile counts nothing in the outer quarter of the overlap, rises by a raised cosine
    over the next half, and counts fully from there on. A network whose receptive field reaches `overlap / 4` pixels
    therefore predicts the same with tiles as without.
    """
    size = min(tile, length)
    count = 1 if length <= tile else -(-(length - overlap) // (tile - overlap))
    starts = np.linspace(0, length - size, count).round().astype(int)
    weights = np.stack([_profile(size, overlap, n > 0, n + 1 < count) for n in range(count)])
    total = np.zeros(length)
    for start, weight in zip(starts, weights, strict=True):
        total[start : start + size] += weight
    normalized = [weight / total[start : start + size] for start, weight in zip(starts, weights, strict=True)]
    return Axis(length, size, tuple(starts.tolist()), np.stack(normalized).astype(np.float32))


def _profile(size: int, overlap: int, inner_start: bool, inner_end: bool) -> NDArray[np.float64]:
    """[size] the weight of a tile before it is shared out; full up to the edges that are the image's own."""
    weight = np.ones(size)
    if overlap == 0:
        return weight
    rise = np.clip((np.arange(size) + 0.5 - HALO * overlap) / ((1 - 2 * HALO) * overlap), 0, 1)
    rise = np.sin(np.pi / 2 * rise) ** 2
    if inner_start:
        weight *= rise
    if inner_end:
        weight *= rise[::-1]
    return weight
