"""From a canvas to a photograph: sun, shadows and sky light, then air, lens and sensor."""

import cv2
import numpy as np
from numpy.typing import NDArray

from semiseg.data.demo.canvas import SUPERSAMPLING, Canvas, tint
from semiseg.data.demo.flight import Flight
from semiseg.data.demo.noise import Field, smooth_noise, smoothstep


def shadow(height: Field, scale: float, flight: Flight) -> Field:
    """Share of the sun taken away, [H, W]: everything under the line from the sun over something higher.

    The horizon is spread along the light in steps that double, so that reach costs only its logarithm.
    """
    horizon = height
    fall = np.tan(flight.elevation) / scale  # metres a pixel
    step = 1.0
    while step * fall < 8.0:
        matrix = np.array([[1, 0, flight.sun[0] * step], [0, 1, flight.sun[1] * step]])
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        moved = cv2.warpAffine(horizon, matrix, height.shape[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE)
        horizon = np.maximum(horizon, moved - np.float32(step * fall))
        step *= 2
    return cv2.GaussianBlur(smoothstep(0.02, 0.22, horizon - height), (0, 0), 0.7)


def sky_view(height: Field, scale: float) -> Field:
    """How much of the sky each pixel sees, [H, W]: less between higher things."""
    size = int(0.9 * scale) | 1
    return np.clip(1 - 0.6 * (cv2.blur(height, (size, size)) - height), 0.15, 1.15)


def facing_sun(canvas: Canvas, flight: Flight) -> Field:
    """Cosine between the surface and the direction to the sun, [H, W]."""
    relief = cv2.GaussianBlur(canvas.height, (0, 0), 1.1)
    slope_x, slope_y = (cv2.Scharr(relief, cv2.CV_32F, *d, scale=canvas.scale / 32) for d in ((1, 0), (0, 1)))
    for slope in (slope_x, slope_y):
        slope /= 1 + np.abs(slope) / 1.2  # leaves are thin, not cliffs
    cosine = np.float32(np.sin(flight.elevation)) - np.float32(np.cos(flight.elevation)) * (
        slope_x * np.float32(flight.sun[0]) + slope_y * np.float32(flight.sun[1])
    )
    return np.maximum(cosine / np.sqrt(1 + slope_x**2 + slope_y**2), 0.04)


def light(canvas: Canvas, flight: Flight) -> Field:
    """Radiance of the lit scene, [H, W, 3] linear. Shadows and sky light are soft: half the resolution does."""
    coarse = cv2.resize(canvas.height, None, fx=1 / SUPERSAMPLING, fy=1 / SUPERSAMPLING, interpolation=cv2.INTER_AREA)
    size, scale = canvas.shape[::-1], canvas.scale / SUPERSAMPLING
    direct = cv2.resize((1 - flight.diffuse) * (1 - shadow(coarse, scale, flight)), size)
    sky = cv2.resize(flight.diffuse * sky_view(coarse, scale), size)
    mirrored = canvas.gloss * direct
    direct *= facing_sun(canvas, flight)
    sun_color = tint(1 + 0.07 * flight.warmth, 1.0, 1 - 0.14 * flight.warmth)
    sky_color = tint(0.82, 0.96, 1.22)
    layers = zip(cv2.split(canvas.albedo), sun_color, sky_color, strict=True)
    return cv2.merge([albedo * (sun * direct + blue * sky) + sun * mirrored for albedo, sun, blue in layers])


def photograph(radiance: Field, rng: np.random.Generator, flight: Flight) -> NDArray[np.uint8]:
    """The picture the drone brings home, [h, w, 3] sRGB, of a supersampled radiance."""
    shape = radiance.shape[0] // SUPERSAMPLING, radiance.shape[1] // SUPERSAMPLING
    image = cv2.resize(radiance, shape[::-1], interpolation=cv2.INTER_AREA)
    image *= 0.135 * flight.exposure / float(image.mean())
    image += flight.haze * tint(0.9, 1.0, 1.1)
    y, x = np.ogrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    image *= (1 - flight.vignette * 0.5 * (x**2 + y**2)).astype(np.float32)[..., None]
    image *= (1 + 0.05 * smooth_noise(rng, shape, 300))[..., None]
    gray = image.mean(axis=2, keepdims=True)
    image = gray + 0.88 * (image - gray)
    image = cv2.GaussianBlur(image, (0, 0), flight.blur)
    film = 1.15 * (1 - cv2.exp(-1.9 * image)) - 0.004  # highlights roll off
    image = cv2.pow(np.maximum(film, 0), 1 / 2.2)
    image -= 0.05 * np.sin(2 * np.pi * image)  # contrast
    image = image + 0.5 * (image - cv2.GaussianBlur(image, (0, 0), 1.2))  # the camera's sharpening
    image = 255 * image + flight.noise * rng.standard_normal(image.shape, dtype=np.float32)
    return np.clip(image + 0.5, 0, 255).astype(np.uint8)
