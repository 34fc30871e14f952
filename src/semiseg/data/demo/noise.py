"""Multi-octave noise: the irregularity of every surface, edge and lighting of the demo scenes."""

import cv2
import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], cell: tuple[float, float] | float) -> Field:
    """Noise whose features are about `cell` pixels (rows, columns) wide, [H, W], mean 0."""
    rows, columns = cell if isinstance(cell, tuple) else (cell, cell)
    grid_shape = (int(shape[0] / rows) + 4, int(shape[1] / columns) + 4)
    grid = rng.standard_normal(grid_shape, dtype=np.float32)
    shift_x, shift_y = rng.uniform(1, 2, size=2)
    matrix = np.array([[1 / columns, 0, shift_x], [0, 1 / rows, shift_y]])
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(grid, matrix, shape[::-1], flags=flags, borderMode=cv2.BORDER_REFLECT)


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
