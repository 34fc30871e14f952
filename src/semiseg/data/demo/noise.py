"""Multi-octave noise: the irregularity of every surface, edge and lighting of the demo scenes."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Field = NDArray[Any]  # float32; wider for the type checker, which loses the type in every call of OpenCV


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], cell: tuple[float, float] | float) -> Field:
    """Noise whose features are about `cell` pixels (rows, columns) wide, [H, W], mean 0."""
    rows, columns = cell if isinstance(cell, tuple) else (cell, cell)
    if min(rows, columns) > 16:  # drawn at an eighth of the size: as smooth, and far cheaper
        coarse = smooth_noise(rng, (shape[0] // 8 + 1, shape[1] // 8 + 1), (rows / 8, columns / 8))
        return cv2.resize(coarse, None, fx=8, fy=8, interpolation=cv2.INTER_CUBIC)[: shape[0], : shape[1]]
    grid_shape = (int(shape[0] / rows) + 3, int(shape[1] / columns) + 3)
    grid = rng.standard_normal(grid_shape, dtype=np.float32)
    large = cv2.resize(grid, None, fx=columns, fy=rows, interpolation=cv2.INTER_CUBIC)
    top, left = (int(rng.integers(1 + n - k)) for n, k in zip(large.shape, shape, strict=True))
    return large[top : top + shape[0], left : left + shape[1]]


def fractal(rng: np.random.Generator, shape: tuple[int, int], cell: float, roughness: float = 0.6) -> Field:
    """Octaves from `cell` pixels down to about 2, [H, W], mean 0 and standard deviation about 1.

    roughness: how much of its amplitude each finer octave keeps, 0..1.
    """
    total = np.zeros(shape, np.float32)
    amplitude, power = 1.0, 0.0
    while cell >= 1.5:
        total += amplitude * smooth_noise(rng, shape, cell)
        power += 0.5 * amplitude**2  # cubic interpolation keeps about half of the variance
        amplitude *= roughness
        cell /= 2.1  # not 2: octaves on one lattice would show it
    return total / np.float32(max(power, 1e-6) ** 0.5)


def smoothstep(low: float, high: float, x: Field) -> Field:
    """0 below `low`, 1 above `high`, smooth between; falling where low > high."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return (t * t * (3 - 2 * t)).astype(np.float32, copy=False)
