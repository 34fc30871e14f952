"""The ground: undergrowth everywhere, bare soil, leaf litter."""

import cv2
import numpy as np

from semiseg.data.demo.canvas import GRASS, SOIL, Canvas, rgb
from semiseg.data.demo.flight import Flight
from semiseg.data.demo.noise import Field, fractal, smooth_noise, smoothstep

LUSH, FRESH, STRAW, WEED = rgb(62, 88, 36), rgb(112, 134, 62), rgb(168, 152, 98), rgb(44, 68, 30)


def grass(canvas: Canvas, rng: np.random.Generator, flight: Flight) -> None:
    """Undergrowth over the whole canvas: green to straw with the season, worn to soil in spots, tufts of weeds."""
    metre = canvas.scale
    patches, tufts, blades = (fractal(rng, canvas.shape, cell * metre, 0.7) for cell in (4.0, 0.9, 0.25))
    alpha = np.ones(canvas.shape, np.float32)
    canvas.blend(alpha, LUSH, GRASS)
    canvas.blend(smoothstep(-1.2, 1.2, tufts + 0.5 * patches), FRESH)
    dryness = patches * 0.6 + blades * 0.5 + (0.6 - 1.6 * flight.wetness)
    canvas.blend(0.85 * smoothstep(-0.6, 1.4, dryness), STRAW)
    canvas.blend(0.8 * smoothstep(1.2, 2.2, patches - 0.5 * tufts), flight.soil)
    weeds = smoothstep(0.9, 1.3, tufts + 0.35 * blades)
    canvas.blend(0.7 * weeds, WEED)
    canvas.albedo *= np.clip(1 + 0.28 * blades, 0.35, 1.8)[..., None]
    canvas.height += 0.05 * blades + 0.10 * tufts + 0.3 * weeds


def soil(canvas: Canvas, rng: np.random.Generator, flight: Flight, alpha: Field, across: Field) -> None:
    """Bare ground where `alpha` [H, W]: clods, stones, stains, and furrows along lines of equal `across` (metres)."""
    metre = canvas.scale
    stains, clods, grain = (fractal(rng, canvas.shape, cell * metre, 0.65) for cell in (5.0, 0.7, 0.12))
    furrow = np.cos((across + 0.12 * stains) * (2 * np.pi / rng.uniform(0.6, 1.1)))
    ploughed = smoothstep(-0.4, 0.6, smooth_noise(rng, canvas.shape, 9 * metre) + 0.4)
    tone = 1 + 0.16 * stains + 0.10 * clods + 0.09 * grain + 0.08 * ploughed * furrow
    damp = smoothstep(0.7, 1.3, stains + 0.3 * clods + 0.8 * (flight.wetness - 0.5))
    tone *= 1 - 0.45 * damp
    hue = np.float32([1, 0.98, 0.94]) ** (2 * clods[..., None])
    canvas.blend(alpha, flight.soil * np.clip(tone, 0.25, 2)[..., None] * hue, SOIL)
    canvas.height *= 1 - 0.9 * alpha
    canvas.height += alpha * (0.07 * ploughed * furrow + 0.045 * clods + 0.012 * grain)
    weeds = smoothstep(1.5, 1.9, clods + 0.4 * fractal(rng, canvas.shape, 0.3 * metre)) * alpha
    canvas.blend(0.75 * weeds, FRESH * 0.8)
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
    floor = flight.soil * 0.45 * np.clip(1 + 0.4 * leaves, 0.2, 2.2)[..., None]
    canvas.blend(0.8 * alpha, floor)
    canvas.height *= 1 - 0.5 * alpha
