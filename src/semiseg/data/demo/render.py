"""From a canvas to a photograph: sun, shadows and sky light, then air, lens and sensor."""

import cv2
import numpy as np
from numpy.typing import NDArray

from semiseg.data.demo.canvas import SUPERSAMPLING, Canvas
from semiseg.data.demo.flight import Flight
from semiseg.data.demo.noise import Field, smooth_noise, smoothstep


def shadow(canvas: Canvas, flight: Flight) -> Field:
    """Share of the sun taken away at each pixel, [H, W]: everything under the line from the sun over something higher.

    The horizon height is spread along the light in steps that double, so reach costs only its logarithm.
    """
    horizon = canvas.height
    fall = np.tan(flight.elevation) / canvas.scale  # metres a pixel
    step = 1.0
    while step * fall < 8.0:
        matrix = np.array([[1, 0, flight.sun[0] * step], [0, 1, flight.sun[1] * step]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        moved = cv2.warpAffine(horizon, matrix, canvas.shape[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE)
        horizon = np.maximum(horizon, moved - np.float32(step * fall))
        step *= 2
    return cv2.GaussianBlur(smoothstep(0.02, 0.22, horizon - canvas.height), (0, 0), 1.2)


def light(canvas: Canvas, flight: Flight) -> Field:
    """Radiance of the lit scene, [H, W, 3] linear, about 0..1 where the ground is brown."""
    relief = cv2.GaussianBlur(canvas.height, (0, 0), 1.1)
    slope_x, slope_y = (cv2.Scharr(relief, cv2.CV_32F, *d, scale=canvas.scale / 32) for d in ((1, 0), (0, 1)))
    slope_x, slope_y = 1.2 * np.tanh(slope_x / 1.2), 1.2 * np.tanh(slope_y / 1.2)  # leaves are thin, not cliffs
    toward = slope_x * flight.sun[0] + slope_y * flight.sun[1]
    facing = np.sin(flight.elevation) - np.cos(flight.elevation) * toward
    facing = np.maximum(facing / np.sqrt(1 + slope_x**2 + slope_y**2), 0.04)
    direct = (1 - flight.diffuse) * (1 - shadow(canvas, flight))
    size = int(0.9 * canvas.scale) | 1
    hollow = cv2.blur(canvas.height, (size, size)) - canvas.height
    sky = flight.diffuse * np.clip(1 - 0.45 * hollow, 0.25, 1.15)
    sun_color = np.float32([1 + 0.07 * flight.warmth, 1.0, 1 - 0.14 * flight.warmth])
    sky_color = np.float32([0.82, 0.96, 1.22])
    radiance = np.empty_like(canvas.albedo)
    for channel in range(3):
        lit = sun_color[channel] * direct * facing + sky_color[channel] * sky
        radiance[..., channel] = canvas.albedo[..., channel] * lit + canvas.gloss * direct * sun_color[channel]
    return radiance


def photograph(radiance: Field, rng: np.random.Generator, flight: Flight) -> NDArray[np.uint8]:
    """The picture the drone brings home, [h, w, 3] sRGB, of a supersampled radiance."""
    shape = radiance.shape[0] // SUPERSAMPLING, radiance.shape[1] // SUPERSAMPLING
    image = cv2.resize(radiance, shape[::-1], interpolation=cv2.INTER_AREA)
    image *= 0.23 * flight.exposure / float(image.mean())
    image += flight.haze * np.float32([0.9, 1.0, 1.1])
    y, x = np.ogrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    image *= (1 - flight.vignette * 0.5 * (x**2 + y**2)).astype(np.float32)[..., None]
    image *= (1 + 0.05 * smooth_noise(rng, shape, 300))[..., None]
    image = cv2.GaussianBlur(image, (0, 0), flight.blur)
    image = cv2.pow(np.maximum(1.12 * (1 - cv2.exp(-1.7 * image)), 0), 1 / 2.2)  # the film curve: highlights roll off
    image = image + 0.35 * (image - cv2.GaussianBlur(image, (0, 0), 1.2))  # the camera's sharpening
    image = 255 * image + flight.noise * rng.standard_normal(image.shape, dtype=np.float32)
    return np.clip(image + 0.5, 0, 255).astype(np.uint8)
