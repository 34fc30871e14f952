"""Reading images and masks.

Files are read by NumPy and decoded from memory, because OpenCV cannot open Unicode paths on Windows.
"""

from __future__ import annotations

import io
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from semiseg.contracts import IGNORE_INDEX
from semiseg.data.classes import ClassMap
from semiseg.errors import DataError

WHITE = (255, 255, 255)
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOR_TYPE_BYTE, PALETTE = 25, 3  # of a PNG header
CODE_OFFSET = np.uint8(2)

UInt8 = NDArray[np.uint8]


def read_image(path: Path) -> UInt8:
    """RGB image, [H, W, 3]. Raises DataError for a file that cannot be decoded.

    The orientation that a camera noted is not applied: masks are drawn on the pixels as stored.
    """
    image = _decode(path, _read_bytes(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def read_mask(path: Path, classes: ClassMap) -> UInt8:
    """Class ids [H, W], 255 = ignore, from a mask of ids or of the mapping's colours.

    - One channel, or three equal ones: class ids. Where a grey could be both an id and a colour of the mapping, the id
      wins. White is ignored, unless the mapping has white and every other grey in use (in one channel: and no colour
      but greys): then the mask was drawn, such as buildings in white on black.
    - Other three channels: colours; white is ignored unless it belongs to a class. An alpha channel is dropped.
    - A palette PNG: its indices (as VOC has them), unless every colour it uses belongs to the mapping: then it is a
      mask of colours that was packed to save space, and its index order means nothing.

    Raises DataError naming the file and the value for an unknown id or colour, or a file that cannot be decoded.
    """
    data = _read_bytes(path)
    if _is_palette_png(data):
        return _from_palette(path, data, classes)
    pixels = _decode(path, data, cv2.IMREAD_UNCHANGED)
    one_channel = pixels.ndim == 2
    grey = pixels if one_channel else pixels[..., 0]
    if not (one_channel or all(np.array_equal(grey, pixels[..., channel]) for channel in (1, 2))):
        return _from_colors(path, pixels, classes)
    if _is_drawn_in_grey(grey, classes, one_channel):
        return _from_colors(path, np.stack([grey] * 3, axis=-1), classes)
    return _from_ids(path, grey, classes)


def _is_drawn_in_grey(grey: NDArray[Any], classes: ClassMap, one_channel: bool) -> bool:
    """Whether 255 means the mapping's white rather than ignored; see `read_mask`."""
    if WHITE not in classes.colors or not (grey == IGNORE_INDEX).any():
        return False
    greys = [red for red, green, blue in classes.colors if red == green == blue]
    if one_channel and len(greys) < classes.num_classes:
        return False
    return bool(np.isin(grey, greys).all())


def _read_bytes(path: Path) -> UInt8:
    try:
        data = np.fromfile(path, dtype=np.uint8)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}. Restore the file or remove it.") from error
    if not len(data):
        raise DataError(f"{path} is empty. Restore the file or remove it (data.on_error=skip passes over such files).")
    return data


def _decode(path: Path, data: UInt8, flags: int) -> NDArray[Any]:
    pixels = cv2.imdecode(data, flags)
    if pixels is None:
        raise _undecodable(path, len(data))
    return pixels


def _undecodable(path: Path, size: int) -> DataError:
    return DataError(
        f"{path} ({size:,} bytes) cannot be decoded: it is damaged or no image. Restore the file or remove it "
        "(data.on_error=skip passes over such files)."
    )


def _is_palette_png(data: UInt8) -> bool:
    return len(data) > COLOR_TYPE_BYTE and data[:8].tobytes() == PNG_SIGNATURE and data[COLOR_TYPE_BYTE] == PALETTE


def _from_palette(path: Path, data: UInt8, classes: ClassMap) -> UInt8:
    """OpenCV expands palettes to colours, so Pillow reads these."""
    try:
        with Image.open(io.BytesIO(data.tobytes())) as image:
            indices = np.asarray(image, dtype=np.uint8)
            palette = np.asarray(image.getpalette("RGB"), dtype=np.uint8).reshape(-1, 3)
    except (OSError, SyntaxError, ValueError, UnidentifiedImageError) as error:
        raise _undecodable(path, len(data)) from error
    used = np.flatnonzero(np.bincount(indices.ravel(), minlength=256))
    by_color = {
        index: tuple(palette[index].tolist()) for index in used if index < len(palette) and index != IGNORE_INDEX
    }
    if not all(by_color.get(index) in classes.colors for index in used if index != IGNORE_INDEX):
        return _from_ids(path, indices, classes)
    table = np.full(256, IGNORE_INDEX, dtype=np.uint8)
    for index, color in by_color.items():
        table[index] = classes.colors.index(color)
    return table[indices]


def _from_ids(path: Path, ids: NDArray[Any], classes: ClassMap) -> UInt8:
    valid = np.less(ids, classes.num_classes) | np.equal(ids, IGNORE_INDEX)
    if not valid.all():
        unknown = ", ".join(str(value) for value in np.unique(ids[~valid])[:5])
        raise DataError(
            f"{path}: class id {unknown} is unknown; the {classes.num_classes} classes have the ids 0 to "
            f"{classes.num_classes - 1}, and {IGNORE_INDEX} is ignored. Correct the mask or the class mapping."
        )
    return ids.astype(np.uint8)


def _from_colors(path: Path, pixels: NDArray[Any], classes: ClassMap) -> UInt8:
    if pixels.dtype != np.uint8:
        raise DataError(f"{path}: colours of {pixels.dtype} cannot be matched. Save the mask with 8 bits a channel.")
    code = pixels[..., 2].astype(np.uint32) << 16 | pixels[..., 1].astype(np.uint32) << 8 | pixels[..., 0]
    mask = _color_table(classes)[code]
    unknown = mask == 0
    if unknown.any():
        got = [f"({c >> 16} {c >> 8 & 255} {c & 255})" for c in np.unique(code[unknown])[:3].tolist()]
        valid = ", ".join(
            f"{name} ({r} {g} {b})" for name, (r, g, b) in zip(classes.names, classes.colors, strict=True)
        )
        raise DataError(
            f"{path}: colour {', '.join(got)} is unknown ({unknown.mean():.1%} of the pixels are). Valid: {valid}. "
            "Correct the mask or the class mapping; a mask saved as JPEG loses its colours, save it as PNG."
        )
    return mask - CODE_OFFSET


@lru_cache(maxsize=4)
def _color_table(classes: ClassMap) -> UInt8:
    """Id of each of the 2**24 RGB codes, plus 2 modulo 256: 0 = unknown, 1 = ignored, 2 = class 0.

    With unknown as 0 the table is pages of zeros that nobody touches, which take no memory.
    """
    table = np.zeros(1 << 24, dtype=np.uint8)
    table[_rgb_code(WHITE)] = (IGNORE_INDEX + int(CODE_OFFSET)) % 256
    for number, color in enumerate(classes.colors):
        table[_rgb_code(color)] = number + int(CODE_OFFSET)
    return table


def _rgb_code(color: tuple[int, int, int]) -> int:
    red, green, blue = color
    return red << 16 | green << 8 | blue
