"""Roads and water: what runs along curves, and ponds."""

import numpy as np

from semiseg.data.demo.canvas import ROAD, SOIL, WATER, Canvas, rgb, shade, tint
from semiseg.data.demo.flight import Flight
from semiseg.data.demo.ground import FRESH
from semiseg.data.demo.noise import Field, fractal, smooth_noise, smoothstep

ASPHALT, PAINT, ALGAE = rgb(104, 102, 100), rgb(200, 198, 186), rgb(96, 118, 52)
WATERS = ((92, 88, 58), (70, 84, 62), (112, 98, 70), (58, 70, 56))


def meander(rng: np.random.Generator, along: Field, across: Field, offset: float, bend: float) -> Field:
    """Signed distance in metres [H, W] to a curve that follows `across` = offset and swings by `bend` metres."""
    wide, narrow = rng.uniform(0, 2 * np.pi), rng.uniform(0, 2 * np.pi)
    swing = bend * np.sin(along / 6.7 + wide) + 0.2 * bend * np.sin(along / 2.7 + narrow)
    return across - offset - swing  # the curve is so flat that this is the distance within a few per cent


def dirt_road(canvas: Canvas, rng: np.random.Generator, flight: Flight, lateral: Field, width: float) -> Field:
    """A worn track with two wheel lanes and a grassy crown along lateral = 0. Returns how much it covers, [H, W]."""
    metre = canvas.scale
    wear, grain = fractal(rng, canvas.shape, 1.5 * metre, 0.65), fractal(rng, canvas.shape, 0.15 * metre, 0.8)
    wide = width * (1 + 0.10 * smooth_noise(rng, canvas.shape, 7 * metre))
    alpha = smoothstep(0.16, -0.16, np.abs(lateral) - wide / 2 + 0.14 * wear)
    gauge = 0.42 * width / 2 + 0.25
    lanes = np.exp(-(((np.abs(lateral + 0.07 * wear) - gauge) / 0.26) ** 2))
    tone = 0.98 + 0.14 * wear + 0.10 * grain + 0.22 * lanes
    canvas.blend(alpha, shade(1.28 * flight.soil, np.clip(tone, 0.3, 2)), ROAD)
    canvas.height += alpha * (0.02 * grain - 0.09 * lanes - 0.8 * canvas.height)
    grown = smoothstep(0.1, 0.9, wear + 0.4 * grain + flight.wetness - 0.9)
    crown = alpha * grown * smoothstep(0.5, 0.15, np.abs(lateral))
    canvas.blend(0.75 * crown, FRESH * 0.75)
    canvas.height += 0.1 * crown
    return alpha


def asphalt_road(canvas: Canvas, rng: np.random.Generator, flight: Flight, lateral: Field, width: float) -> Field:
    """A narrow paved road with dusty edges, patches, cracks and a worn centre line. Returns its cover, [H, W]."""
    metre = canvas.scale
    wear, grain = fractal(rng, canvas.shape, 2 * metre, 0.65), fractal(rng, canvas.shape, 0.1 * metre, 0.9)
    verge = smoothstep(0.5, -0.1, np.abs(lateral) - width / 2 - 0.3 + 0.2 * wear)
    canvas.blend(0.8 * verge, shade(flight.soil, 1 + 0.15 * grain))
    alpha = smoothstep(0.07, -0.07, np.abs(lateral) - width / 2 + 0.05 * wear)
    lanes = np.exp(-(((np.abs(lateral) - width / 4) / 0.3) ** 2))
    cracked = smoothstep(0.0, 1.0, smooth_noise(rng, canvas.shape, 5 * metre))
    cracks = cracked * smoothstep(0.05, 0.0, np.abs(wear + 0.3))
    tone = np.clip(1 + 0.10 * wear + 0.10 * grain - 0.10 * lanes - 0.35 * cracks, 0.3, 2)
    canvas.blend(alpha, shade(ASPHALT * np.float32(rng.uniform(0.55, 1.2)), tone), ROAD)
    dust = 0.45 * smoothstep(0.55, 0.05, width / 2 - np.abs(lateral) + 0.2 * wear)
    canvas.blend(alpha * dust, flight.soil)
    line = smoothstep(0.09, 0.04, np.abs(lateral)) * smoothstep(-0.9, 0.3, wear + grain)
    canvas.blend(float(rng.choice([0.0, 0.15, 0.45])) * alpha * line, PAINT)
    canvas.height += alpha * (0.05 + 0.01 * grain - canvas.height)
    return np.maximum(alpha, verge)


def water(canvas: Canvas, rng: np.random.Generator, flight: Flight, shore: Field) -> Field:
    """Turbid water where `shore`, metres to the bank, is positive. Returns what it covers with its banks, [H, W]."""
    metre = canvas.scale
    edge, ripple = fractal(rng, canvas.shape, 2.6 * metre, 0.5), fractal(rng, canvas.shape, 0.45 * metre, 0.6)
    depth = shore + 0.2 * edge
    bank = smoothstep(-0.8, -0.35, depth + 0.1 * ripple)
    canvas.blend(bank, shade(0.62 * flight.soil, np.clip(1 + 0.2 * ripple + 0.1 * edge, 0.3, 2)), SOIL)
    alpha = smoothstep(-0.05, 0.05, depth)
    body = rgb(*WATERS[rng.integers(len(WATERS))]) * np.float32(rng.uniform(0.8, 1.2))
    mud = smooth_noise(rng, canvas.shape, 6 * metre)
    color = shade(body, (1.35 - 0.75 * smoothstep(0.0, 1.6, depth)) * (1 + 0.05 * ripple + 0.08 * mud))
    sky = rng.uniform(0.005, 0.04) * smoothstep(-1.5, 1.5, smooth_noise(rng, canvas.shape, 14 * metre))
    canvas.blend(alpha, color + shade(tint(0.85, 0.95, 1.05), sky), WATER)
    canvas.height += bank * (0.04 * ripple - canvas.height) - 0.55 * smoothstep(-0.7, 0.1, depth)
    canvas.height += alpha * (-0.55 - canvas.height)
    algae = alpha * smoothstep(1.0, 1.4, edge + 0.5 * ripple - 0.25 * depth)
    canvas.blend(0.7 * algae, ALGAE)
    ruffled = smooth_noise(rng, canvas.shape, 5 * metre)
    swell = 1.2 * ruffled + smooth_noise(rng, canvas.shape, (0.10 * metre, 0.22 * metre))
    canvas.gloss += alpha * (1 - algae) * rng.uniform(0.01, 0.10) * smoothstep(0.9, 3.4, swell)
    return bank
