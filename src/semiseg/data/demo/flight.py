"""What differs between two flights: ground sampling distance, sun, season, soil, air and camera."""

from dataclasses import dataclass

import numpy as np

from semiseg.data.demo.canvas import rgb
from semiseg.data.demo.noise import Field

GROUND_SAMPLING_DISTANCE = 0.06  # metres a pixel, +-20 % between flights


@dataclass(frozen=True)
class Flight:
    scale: float  # pixels a metre
    sun: tuple[float, float]  # direction to the sun on the image plane, unit length (x, y)
    elevation: float  # of the sun, radians
    warmth: float  # -1 overcast blue .. 1 evening yellow
    wetness: float  # 0 dry season .. 1 rainy season
    soil: Field  # [3] linear colour of bare ground
    diffuse: float  # share of the light that comes from the whole sky
    haze: float
    exposure: float
    blur: float  # sigma, pixels
    vignette: float
    noise: float  # of the sensor, grey levels
    jpeg_quality: int


SOILS = ((150, 108, 78), (138, 112, 88), (128, 96, 72), (156, 128, 98), (118, 98, 82))


def draw_flight(rng: np.random.Generator) -> Flight:
    """The conditions of one flight."""
    azimuth = rng.uniform(0, 2 * np.pi)
    return Flight(
        scale=1 / (GROUND_SAMPLING_DISTANCE * rng.uniform(0.8, 1.2)),
        sun=(float(np.cos(azimuth)), float(np.sin(azimuth))),
        elevation=rng.uniform(0.65, 1.15),
        warmth=rng.uniform(-1, 1),
        wetness=rng.uniform(0, 1),
        soil=rgb(*SOILS[rng.integers(len(SOILS))]) * rng.uniform(0.85, 1.15, 3).astype(np.float32),
        diffuse=rng.uniform(0.14, 0.34),
        haze=rng.uniform(0, 0.012),
        exposure=rng.uniform(0.85, 1.2),
        blur=rng.uniform(0.25, 0.6),
        vignette=rng.uniform(0.05, 0.3),
        noise=rng.uniform(1, 4),
        jpeg_quality=int(rng.integers(82, 94)),
    )
