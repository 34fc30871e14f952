"""One scene: the land divided, covered, built on, planted, lit and photographed."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from semiseg.data.demo import ground, planting, roofs, ways
from semiseg.data.demo.canvas import SUPERSAMPLING, Canvas
from semiseg.data.demo.flight import Flight, draw_flight
from semiseg.data.demo.noise import Field, fractal
from semiseg.data.demo.plots import Land, Plot, divide
from semiseg.data.demo.render import light, photograph

Uses = dict[str, list[Plot]]


@dataclass(frozen=True)
class Scene:
    image: NDArray[np.uint8]  # [H, W, 3] sRGB
    mask: NDArray[np.uint8]  # [H, W] class ids
    jpeg_quality: int


def draw_scene(seed: tuple[int, ...], shape: tuple[int, int], water: bool, farm: bool) -> Scene:
    """A scene of `shape` pixels, the same for the same `seed`.

    Every scene has roads, palms, salak, bare soil and undergrowth; water and buildings where asked for.
    """
    rng = np.random.default_rng(seed)
    flight = draw_flight(rng)
    land = divide(rng, shape, flight.scale)
    pond = water and rng.random() < 0.5
    uses = assign(rng, land, ["pond"] * pond + ["farm"] * farm)
    canvas = Canvas.empty(shape, flight.scale)
    taken = cover_ground(canvas, rng, flight, land, uses, ditch=water and not pond)
    canvas = canvas.supersampled()
    free = cv2.resize(1 - taken, canvas.shape[::-1])
    put_buildings(canvas, rng, land, uses, free)
    put_plants(canvas, rng, flight, land, uses, free)
    image = photograph(light(canvas, flight), rng, flight)
    return Scene(image, canvas.ids[::SUPERSAMPLING, ::SUPERSAMPLING].copy(), flight.jpeg_quality)


def assign(rng: np.random.Generator, land: Land, wanted: list[str]) -> Uses:
    """A use for every plot: one of each that the scene must show among the largest in sight, the rest by chance."""
    must = [*wanted, "salak", "palms", "soil"]
    names = [must[i] for i in rng.permutation(len(must))]
    rest = max(0, len(land.plots) - len(names))
    names += list(rng.choice(["salak", "palms", "mixed", "soil", "grass"], rest, p=[0.12, 0.33, 0.12, 0.27, 0.16]))
    uses: Uses = {name: [] for name in ("pond", "farm", "salak", "palms", "mixed", "soil", "grass")}
    for plot, name in zip(land.plots, names, strict=False):
        uses[name].append(plot)
    return uses


def cover_ground(
    canvas: Canvas, rng: np.random.Generator, flight: Flight, land: Land, uses: Uses, ditch: bool
) -> Field:
    """Undergrowth, soil, water and roads. Returns where nothing can stand, [H, W] in 0..1."""
    ground.grass(canvas, rng, flight)
    bare = uses["soil"] + uses["farm"]
    lengthwise = land.cover(bare[::2]) > 0
    furrows = np.where(lengthwise, land.across, land.along)
    ground.soil(canvas, rng, flight, worn(rng, land, bare), furrows)
    ground.litter(canvas, rng, flight, cv2.GaussianBlur(land.cover(uses["salak"] + uses["mixed"]), (0, 0), 2))
    taken = footpath(canvas, rng, flight, land)
    lines = sorted(land.edges, key=abs)
    if ditch:
        in_sight = 0.35 * min(canvas.shape) / canvas.scale
        offset = min(max(lines[1], -in_sight), in_sight)
        lateral = ways.meander(rng, land.along, land.across, offset, rng.uniform(0.3, 1.2))
        taken = np.maximum(taken, ways.water(canvas, rng, flight, rng.uniform(0.9, 2.0) - np.abs(lateral)))
    for plot in uses["pond"]:
        taken = np.maximum(taken, ways.water(canvas, rng, flight, pond_shore(rng, land, plot)))
    return np.maximum(taken, road(canvas, rng, flight, land, lines[0]))


def worn(rng: np.random.Generator, land: Land, plots: list[Plot]) -> Field:
    """Soft cover of plots [H, W] into which the grass has grown from their borders."""
    cover = cv2.GaussianBlur(land.cover(plots), (0, 0), 0.35 * land.scale)
    return ways.smoothstep(0.35, 0.65, cover + 0.13 * fractal(rng, cover.shape, 1.5 * land.scale, 0.7))


def pond_shore(rng: np.random.Generator, land: Land, plot: Plot) -> Field:
    """Metres to the bank of a rounded pond in a plot, positive inside, [H, W]."""
    (u, v), (width, depth) = plot.center, plot.size
    a, b = 0.42 * width * rng.uniform(0.8, 1), 0.42 * depth * rng.uniform(0.8, 1)
    q = ((np.abs(land.along - u) / a) ** 3 + (np.abs(land.across - v) / b) ** 3) ** (1 / 3)
    return ((1 - q) * min(a, b)).astype(np.float32)


def footpath(canvas: Canvas, rng: np.random.Generator, flight: Flight, land: Land) -> Field:
    """A trodden path across the bands of plots. Returns what it covers, [H, W]."""
    lateral = ways.meander(rng, land.across, land.along, rng.uniform(-8, 8), 0.8)
    return ways.dirt_road(canvas, rng, flight, lateral, rng.uniform(0.8, 1.3))


def road(canvas: Canvas, rng: np.random.Generator, flight: Flight, land: Land, edge: float) -> Field:
    """The road along a border of plots, mostly dirt. Returns what it covers, [H, W]."""
    lateral = ways.meander(rng, land.along, land.across, edge, rng.uniform(0.3, 1.5))
    pave = ways.asphalt_road if rng.random() < 0.4 else ways.dirt_road
    return pave(canvas, rng, flight, lateral, rng.uniform(2.4, 3.4))


def put_buildings(canvas: Canvas, rng: np.random.Generator, land: Land, uses: Uses, free: Field) -> None:
    """A house and a shed on every farm plot, where they fit best; `free` [H, W] becomes 0 around them."""
    for plot in uses["farm"]:
        angle = land.angle + rng.normal(0, 0.08) + rng.choice([0, np.pi / 2])
        for shed in (False, True):
            roof = roofs.draw_roof(rng, shed)
            x, y = best_site(rng, canvas, land, plot, free, reach=0.45 if shed else 0.15, size=roof.length)
            roofs.build(canvas, rng, roof, x, y, angle)
            cv2.circle(free, (int(x), int(y)), int((roof.length / 2 + 1.2) * canvas.scale), 0.0, -1)


def best_site(
    rng: np.random.Generator, canvas: Canvas, land: Land, plot: Plot, free: Field, reach: float, size: float
) -> tuple[float, float]:
    """The pixel (x, y) with the most room for `size` metres, of a few within `reach` plot sizes of its centre."""
    room = cv2.blur(free[::8, ::8], (int(size * canvas.scale / 8) | 1,) * 2, borderType=cv2.BORDER_CONSTANT)
    sites = []
    for offset in rng.uniform(-reach, reach, (12, 2)):
        point = land.pixel(*(c + o * s for c, o, s in zip(plot.center, offset, plot.size, strict=True)))
        x, y = (canvas.scale / land.scale * c for c in point)
        row, column = (min(max(int(c / 8), 0), n - 1) for c, n in zip((y, x), room.shape, strict=True))
        sites.append((float(room[row, column]), x, y))
    return max(sites)[1:]


def put_plants(canvas: Canvas, rng: np.random.Generator, flight: Flight, land: Land, uses: Uses, free: Field) -> None:
    """Salak thickets, palms in rows, shade trees and wild bushes wherever `free` [H, W] leaves room."""
    nursery = planting.Nursery(rng, flight, canvas.scale)
    salak, palm, tree = (partial(kind, canvas, nursery) for kind in (planting.salaks, planting.palms, planting.trees))
    for plot in uses["salak"] + uses["mixed"]:
        planting.set_out(canvas, land, free, planting.rows(rng, plot, rng.uniform(1.5, 2.0), 0.06), salak)
    planting.close_thickets(canvas)
    for plot in uses["palms"] + uses["mixed"]:
        planting.set_out(canvas, land, free, planting.rows(rng, plot, rng.uniform(5.0, 6.2), 0.1), palm)
    for plot in uses["grass"] + uses["pond"] + uses["farm"]:
        planting.set_out(canvas, land, free, planting.rows(rng, plot, 6.5, 0.7), tree)
    planting.shrubs(canvas, rng, nursery, free, int(rng.integers(15, 50)))
