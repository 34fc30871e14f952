"""The ground: undergrowth everywhere, bare soil, leaf litter."""

import cv2
import numpy as np

from semiseg.data.demo.canvas import GRASS, SOIL, Canvas, rgb, shade
from semiseg.data.demo.flight import Flight
from semiseg.data.demo.noise import Field, fractal, smooth_noise, smoothstep

LUSH, FRESH, STRAW, WEED = rgb(64, 82, 40), rgb(104, 120, 62), rgb(158, 144, 100), rgb(46, 64, 32)


def grass(canvas: Canvas, rng: np.random.Generator, flight: Flight) -> None:
    """Undergrowth over the whole canvas: green to straw with the season, worn to soil in spots, tufts of weeds."""
    metre = canvas.scale
    patches, tufts = (fractal(rng, canvas.shape, cell * metre, 0.75) for cell in (5.0, 0.8))
    blades = 0.6 * smooth_noise(rng, canvas.shape, 1.4) + 0.6 * smooth_noise(rng, canvas.shape, 2.7)
    alpha = np.ones(canvas.shape, np.float32)
    canvas.blend(alpha, LUSH, GRASS)
    canvas.blend(smoothstep(-2.0, 2.2, 0.5 * tufts + 0.6 * patches + 0.8 * blades), FRESH)
    dryness = 0.7 * patches + 0.3 * tufts + 0.6 * blades + (0.3 - 1.6 * flight.wetness)
    canvas.blend(0.75 * smoothstep(-1.4, 2.6, dryness), STRAW)
    canvas.blend(0.7 * smoothstep(1.0, 2.6, patches - 0.4 * tufts + 0.3 * blades), flight.soil)
    weeds = smoothstep(0.9, 1.6, tufts + 0.5 * blades)
    canvas.blend(0.6 * weeds, WEED)
    canvas.albedo *= shade(np.ones(3, np.float32), np.clip(1 + 0.24 * blades, 0.35, 1.8))
    canvas.height += 0.04 * blades + 0.06 * tufts + 0.25 * weeds


def soil(canvas: Canvas, rng: np.random.Generator, flight: Flight, alpha: Field, across: Field) -> None:
    """Bare ground where `alpha` [H, W]: clods, stones, stains, and furrows along lines of equal `across` (metres)."""
    metre = canvas.scale
    stains, clods = (fractal(rng, canvas.shape, cell * metre, 0.7) for cell in (5.0, 0.6))
    grain = smooth_noise(rng, canvas.shape, 1.6)
    furrow = np.cos((across + 0.12 * stains) * (2 * np.pi / rng.uniform(0.6, 1.1)))
    ploughed = smoothstep(-0.4, 0.6, smooth_noise(rng, canvas.shape, 9 * metre) + 0.4)
    tone = 1 + 0.16 * stains + 0.10 * clods + 0.13 * grain + 0.08 * ploughed * furrow
    damp = smoothstep(0.7, 1.3, stains + 0.3 * clods + 0.8 * (flight.wetness - 0.5))
    tone *= 1 - 0.45 * damp
    color = shade(flight.soil, np.clip(tone, 0.25, 2))
    color[..., 2] *= 1 - 0.1 * clods
    canvas.blend(alpha, color, SOIL)
    canvas.height *= 1 - 0.9 * alpha
    canvas.height += alpha * (0.07 * ploughed * furrow + 0.045 * clods + 0.02 * grain)
    weeds = smoothstep(1.5, 1.9, clods + 0.4 * fractal(rng, canvas.shape, 0.3 * metre)) * alpha
    canvas.blend(0.6 * weeds, LUSH)
    canvas.height += 0.15 * weeds
    stones(canvas, rng, alpha)


def stones(canvas: Canvas, rng: np.random.Generator, alpha: Field) -> None:
    """Scattered stones of 5 to 25 cm where `alpha` [H, W] is high."""
    layer = np.zeros(canvas.shape, np.float32)
    rows, columns = canvas.shape
    for _ in range(int(0.35 * rows * columns / canvas.scale**2)):
        center = int(rng.integers(columns)), int(rng.integers(rows))
        axes = tuple(int(a) for a in rng.uniform(0.02, 0.10, 2) * canvas.scale + 0.5)
        cv2.ellipse(layer, center, axes, float(rng.uniform(0, 180)), 0, 360, float(rng.uniform(0.4, 1)), -1)
    layer *= alpha
    canvas.blend(0.7 * layer, rgb(176, 168, 154))
    canvas.height += 0.10 * layer


def litter(canvas: Canvas, rng: np.random.Generator, flight: Flight, alpha: Field) -> None:
    """Shaded plantation floor where `alpha` [H, W]: dark soil with dry fronds and leaves. The class stays."""
    leaves = fractal(rng, canvas.shape, 0.5 * canvas.scale, 0.8)
    canvas.blend(0.8 * alpha, shade(0.45 * flight.soil, np.clip(1 + 0.4 * leaves, 0.2, 2.2)))
    canvas.height *= 1 - 0.5 * alpha
