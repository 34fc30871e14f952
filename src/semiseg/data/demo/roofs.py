"""Buildings: gabled roofs of sheet metal or tiles, lit and shadowed by their height."""

from dataclasses import dataclass

import cv2
import numpy as np

from semiseg.data.demo.canvas import BUILDING, Canvas, Sprite, rgb, shade
from semiseg.data.demo.noise import Field, fractal, smooth_noise, smoothstep

ZINC = ((168, 174, 178), (134, 142, 150), (112, 130, 150), (190, 188, 182))
TILE = ((158, 88, 62), (136, 78, 58), (120, 82, 66))
RUST = rgb(122, 76, 48)


@dataclass(frozen=True)
class Roof:
    """A gable of `length` along the ridge by `width` metres."""

    length: float
    width: float
    eaves: float  # metres above the ground
    pitch: float  # rise a metre
    tiled: bool
    color: tuple[int, int, int]
    rust: float  # 0 new .. 1 rusted over


def draw_roof(rng: np.random.Generator, shed: bool) -> Roof:
    """The measures and material of one roof; a shed is small, low and of sheet metal."""
    tiled = not shed and rng.random() < 0.4
    colors = TILE if tiled else ZINC
    size = (rng.uniform(3, 4.5), rng.uniform(2.4, 3.2)) if shed else (rng.uniform(7.5, 10.5), rng.uniform(5.5, 7))
    return Roof(
        length=size[0],
        width=size[1],
        eaves=rng.uniform(2.0, 2.6) if shed else rng.uniform(2.8, 3.6),
        pitch=rng.uniform(0.25, 0.6),
        tiled=tiled,
        color=colors[rng.integers(len(colors))],
        rust=rng.uniform(0, 0.25) if tiled else float(rng.choice([0.1, 0.4, 0.9])),
    )


def build(canvas: Canvas, rng: np.random.Generator, roof: Roof, x: float, y: float, angle: float) -> None:
    """Put a roof with its centre at (x, y) pixels, the ridge along `angle` (radians)."""
    side = int(np.hypot(roof.length, roof.width) * canvas.scale) + 4
    row, column = (np.mgrid[:side, :side].astype(np.float32) - side / 2) / canvas.scale
    along = column * np.cos(angle) + row * np.sin(angle)
    across = row * np.cos(angle) - column * np.sin(angle)
    inside = (np.abs(along) < roof.length / 2) & (np.abs(across) < roof.width / 2)
    relief, tone = (tile_courses if roof.tiled else metal_sheets)(rng, along, across)
    height = roof.eaves + roof.pitch * (roof.width / 2 - np.abs(across)) + relief
    albedo = shade(rgb(*roof.color), weathering(rng, canvas.scale, tone))
    rusty = smoothstep(0.0, 3.2, rust_streaks(rng, canvas.scale, along, across) + 2.4 * roof.rust - 0.3)
    albedo += (0.85 * rusty)[..., None] * (shade(RUST, tone) - albedo)
    ridge = smoothstep(0.14, 0.10, np.abs(across))
    albedo += (0.4 * ridge)[..., None] * (rgb(*roof.color) * 1.2 - albedo)
    gloss = 0.0 if roof.tiled else 0.05 * (1 - roof.rust)
    canvas.stamp(x, y, Sprite(albedo, height + 0.06 * ridge, inside, inside, gloss), BUILDING)


def metal_sheets(rng: np.random.Generator, along: Field, across: Field) -> tuple[Field, Field]:
    """Relief (metres) and tone [h, w] of corrugated sheets 0.8 m wide, a few of them replaced."""
    sheet = np.floor(along / 0.8).astype(int) + 40 + 80 * (across > 0)
    tone = (1 + 0.07 * rng.standard_normal(200) + 0.35 * (rng.random(200) < 0.06)).astype(np.float32)[sheet]
    seam = np.abs(along / 0.8 % 1 - 0.5) > 0.47
    lap = np.abs(np.abs(across) - 1.7) < 0.03
    ribs = np.cos(along * (2 * np.pi / 0.20))
    return 0.008 * ribs, tone * (1 + 0.05 * ribs) * np.where(seam | lap, 0.78, 1).astype(np.float32)


def tile_courses(rng: np.random.Generator, along: Field, across: Field) -> tuple[Field, Field]:
    """Relief (metres) and tone [h, w] of clay tiles of 25 by 32 cm, each a little different."""
    course, tile = np.floor(across / 0.32).astype(int) + 30, np.floor(along / 0.25).astype(int) + 60
    tone = (1 + 0.12 * rng.standard_normal((60, 120))).astype(np.float32)[course, tile]
    step = np.abs(across) / 0.32 % 1
    return 0.05 * step + 0.02 * np.cos(along * (2 * np.pi / 0.25)), tone * (1.1 - 0.3 * (step > 0.85))


def rust_streaks(rng: np.random.Generator, scale: float, along: Field, across: Field) -> Field:
    """Noise [h, w] drawn out down the slope, as water runs."""
    noise = smooth_noise(rng, along.shape, (1.2 * scale, 0.12 * scale)) + smooth_noise(rng, along.shape, 0.8 * scale)
    x, y = (field * scale + along.shape[0] / 2 for field in (along, across))
    return cv2.remap(noise, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def weathering(rng: np.random.Generator, scale: float, tone: Field) -> Field:
    """Tone [h, w] with dirt, moss and blotches added."""
    dirt = fractal(rng, tone.shape, 2 * scale, 0.6)
    return np.clip(tone * (0.95 + 0.10 * dirt + 0.04 * smooth_noise(rng, tone.shape, 1.5)), 0.2, 1.6)
