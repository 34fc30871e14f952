from dataclasses import replace

import numpy as np

from semiseg.data.demo.canvas import SUPERSAMPLING, Canvas
from semiseg.data.demo.flight import Flight, draw_flight
from semiseg.data.demo.render import facing_sun, light, photograph, shadow, sky_view


def flight(**changes: object) -> Flight:
    east = {"sun": (1.0, 0.0), "elevation": float(np.pi / 4)}
    return replace(draw_flight(np.random.default_rng(0)), **(east | changes))


def test_shadow_is_as_long_as_the_tower_at_45_degrees_and_points_away_from_the_sun() -> None:
    height = np.zeros((40, 120), np.float32)
    height[15:25, 80:84] = 3.0
    dark = shadow(height, 10.0, flight())[20] > 0.5
    first, last = np.flatnonzero(dark)[[0, -1]]
    assert abs((80 - first) - 30) <= 3  # 3 m at 10 pixels a metre, towards the west
    assert last < 84
    assert shadow(height, 10.0, flight())[5].max() < 0.1


def test_a_lower_sun_throws_longer_shadows() -> None:
    height = np.zeros((20, 200), np.float32)
    height[5:15, 150:154] = 2.0
    high, low = (float(shadow(height, 10.0, flight(elevation=e)).sum()) for e in (1.1, 0.6))
    assert low > 1.5 * high


def test_slopes_towards_the_sun_are_brighter() -> None:
    canvas = Canvas.empty((20, 80), 10.0)
    canvas.height[:] = 4 - np.abs(np.arange(80) - 40) / 20
    facing = facing_sun(canvas, flight())
    assert facing[10, 60] > facing[10, 20] + 0.3  # the east side falls towards the east


def test_hollows_see_less_of_the_sky() -> None:
    height = np.ones((40, 40), np.float32)
    height[18:22, 18:22] = 0
    view = sky_view(height, 10.0)
    assert view[20, 20] < view[5, 5]


def test_photograph_has_the_final_size_and_is_well_exposed() -> None:
    canvas = Canvas.empty((64, 96), 10.0).supersampled()
    canvas.albedo[:] = np.random.default_rng(1).random(canvas.albedo.shape, np.float32) * 0.3
    image = photograph(light(canvas, flight()), np.random.default_rng(2), flight())
    assert image.shape == (64, 96, 3)
    assert image.dtype == np.uint8
    assert 90 < image.mean() < 170
    assert canvas.shape == (64 * SUPERSAMPLING, 96 * SUPERSAMPLING)
