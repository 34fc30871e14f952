"""Pure functions on one image [H, W, 3] uint8 and its mask [H, W] uint8; the randomness is the caller's generator.

Images are interpolated bilinearly, masks by nearest neighbour with the same pixel centres.
"""

from __future__ import annotations

import cv2
import numpy as np

from semiseg.contracts import IGNORE_INDEX

Pair = tuple[np.ndarray, np.ndarray]
LUMA = np.array([0.299, 0.587, 0.114])  # weights of R, G, B in grey, ITU-R BT.601


def resize(image: np.ndarray, mask: np.ndarray, height: int, width: int) -> Pair:
    """Image and mask at height x width."""
    if image.shape[:2] == (height, width):
        return image, mask
    resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    # INTER_NEAREST takes the corner of a pixel and so shifts the mask by half a pixel against the image.
    return resized, cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)


def random_window(image: np.ndarray, mask: np.ndarray, size: int, rng: np.random.Generator) -> Pair:
    """A random window of size x size, cut short where the image is smaller."""
    height, width = image.shape[:2]
    top = int(rng.integers(max(height - size, 0) + 1))
    left = int(rng.integers(max(width - size, 0) + 1))
    window = np.s_[top : top + size, left : left + size]
    return image[window], mask[window]


def pad_to(image: np.ndarray, mask: np.ndarray, size: int, rng: np.random.Generator) -> Pair:
    """Image and mask grown to at least size x size, placed at random; the added mask is 255.

    The image is mirrored rather than filled: on unlabelled patches a flat border would itself be given pseudo labels.
    """
    height, width = image.shape[:2]
    missing_rows, missing_columns = max(size - height, 0), max(size - width, 0)
    if missing_rows == 0 and missing_columns == 0:
        return image, mask
    top, left = int(rng.integers(missing_rows + 1)), int(rng.integers(missing_columns + 1))
    border = (top, missing_rows - top, left, missing_columns - left)
    padded = cv2.copyMakeBorder(image, *border, borderType=cv2.BORDER_REFLECT_101)
    return padded, cv2.copyMakeBorder(mask, *border, borderType=cv2.BORDER_CONSTANT, value=(IGNORE_INDEX,))


def scaled_crop(image: np.ndarray, mask: np.ndarray, size: int, scale: float, rng: np.random.Generator) -> Pair:
    """A random crop of size x size from the image at `scale`, padded where the scaled image is smaller.

    The window is cut before it is scaled, so that an enlarged image costs no more than its crop.
    """
    window = max(1, round(size / scale))
    image, mask = random_window(image, mask, window, rng)
    height, width = (size if side == window else max(1, round(side * scale)) for side in image.shape[:2])
    image, mask = resize(image, mask, min(height, size), min(width, size))
    return pad_to(image, mask, size, rng)


def random_orientation(
    image: np.ndarray, mask: np.ndarray, rng: np.random.Generator, *, flip: bool, vertical_flip: bool, rotate: bool
) -> Pair:
    """Each of the wished flips with probability 0.5, and a turn by 0, 90, 180 or 270 degrees."""
    if flip and rng.random() < 0.5:
        image, mask = image[:, ::-1], mask[:, ::-1]
    if vertical_flip and rng.random() < 0.5:
        image, mask = image[::-1], mask[::-1]
    if rotate:
        turns = int(rng.integers(4))
        image, mask = np.rot90(image, turns), np.rot90(mask, turns)
    return image, mask


def jitter_color(image: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Brightness, contrast and saturation, each multiplied by a factor drawn from 1 - strength to 1 + strength.

    Contrast stretches around the mean grey, saturation around each pixel's own grey. All three are linear in R, G, B:
    they cost one matrix product and are clipped once.
    """
    brightness, contrast, saturation = rng.uniform(1 - strength, 1 + strength, size=3)
    mean_grey = brightness * (LUMA @ cv2.mean(image)[:3])
    matrix = brightness * contrast * (saturation * np.eye(3) + (1 - saturation) * LUMA)
    offset = np.full((3, 1), (1 - contrast) * mean_grey)
    return cv2.transform(image, np.hstack([matrix, offset]))
