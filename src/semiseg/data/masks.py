"""Reading images and masks.

Files are read whole and decoded from memory, because OpenCV cannot open Unicode paths on Windows. What a file holds
decides how it is read, not its suffix.
"""

from __future__ import annotations

import io
import os
import stat
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semiseg.contracts import IGNORE_INDEX
from semiseg.data.classes import ClassMap
from semiseg.data.header import Header, read_header
from semiseg.errors import DataError

MAX_PIXELS = 2**29  # 23,170 x 23,170: whole drone mosaics of 20,000 x 20,000 are read, in 1.5 GiB
MAX_BYTES = 8 * MAX_PIXELS  # of a file: four channels of 16 bits without compression
LONG_PATH = 260  # characters that Windows takes, unless long paths are switched on

WHITE = (255, 255, 255)
CODE_OFFSET = np.uint8(2)
SKIPPING = " (data.on_error=skip passes over such files)"  # for verbs that read a data set; others cut it out
REMEDY = f"Restore the file or remove it{SKIPPING}."

UInt8 = NDArray[np.uint8]

# Every GeoTIFF would be warned of at each reading: OpenCV does not know the tags that say where on Earth it lies.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
# Ours is checked before Pillow opens anything; its own limit would warn of images that are read without harm.
Image.MAX_IMAGE_PIXELS = None


def read_image(path: Path) -> UInt8:
    """RGB image, [H, W, 3]. Raises DataError for a file that cannot be decoded.

    - The orientation that a camera noted is not applied: masks are drawn on the pixels as stored.
    - Grey becomes three equal channels, palettes and CMYK their colours; an alpha channel is dropped.
    - 16 bits a channel become 8 by dividing by 257 and rounding, so that black and white stay what they are.
    """
    data, header = _load(path)
    flags = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION
    image = _decode(path, data, header, flags)
    if image.dtype == np.uint16:
        image = ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)
    elif image.dtype != np.uint8:
        raise DataError(f"{path}: pixels of {image.dtype} have no known range. Save the image with 8 or 16 bits.")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def read_mask(path: Path, classes: ClassMap) -> UInt8:
    """Class ids [H, W], 255 = ignore, from a mask of ids or of the mapping's colours.

    - One channel, or three equal ones: class ids, unless shades of the mapping were drawn. They were where all values
      are greys of the mapping and one of them is no id, as in a patch of nothing but road that is drawn in grey. White
      is ignored, unless the mapping has white and every other grey in use (in one channel: and no colour but greys):
      then the mask was drawn, such as buildings in white on black.
    - Other three channels: colours; white is ignored unless it belongs to a class. An alpha channel is dropped.
    - A palette PNG or TIFF: its indices (as VOC has them), unless every colour it uses belongs to the mapping: then it
      is a mask of colours that was packed to save space, and its index order means nothing.

    Raises DataError naming the file and the value for an unknown id or colour, for a file that cannot be decoded, and
    where ids would be guessed: of fewer than 8 bits (a 1 may mean id 1 or white), of a JPEG, which blurs them, or in
    three channels that are the colour of one class and the id of another.
    """
    data, header = _load(path)
    if header.palette:
        return _from_palette(path, data, classes)
    pixels = _decode(path, data, header, cv2.IMREAD_UNCHANGED)
    one_channel = pixels.ndim == 2
    grey = pixels if one_channel else pixels[..., 0]
    if not (one_channel or all(np.array_equal(grey, pixels[..., channel]) for channel in (1, 2))):
        return _from_colors(path, pixels, classes)
    if _is_drawn_in_grey(path, grey, classes, one_channel, header.bits):
        return _from_colors(path, np.stack([grey] * 3, axis=-1), classes)
    if header.bits < 8 and grey.any():
        raise DataError(
            f"{path}: a mask of {header.bits} bits a pixel does not tell class ids from shades of grey. Save it with 8."
        )
    if header.kind == "jpeg" and grey.min() != grey.max():
        raise DataError(f"{path}: a JPEG blurs class ids into those of other classes. Save the mask as PNG.")
    return _from_ids(path, grey, classes)


def _is_drawn_in_grey(path: Path, grey: NDArray[Any], classes: ClassMap, one_channel: bool, bits: int) -> bool:
    """Whether the values are shades of the mapping rather than ids; see `read_mask`. Raises DataError where they may be
    either, and would be other classes."""
    greys = {red: number for number, (red, green, blue) in enumerate(classes.colors) if red == green == blue}
    unclear = [] if one_channel else [v for v, number in greys.items() if v != number and v < classes.num_classes]
    are_ids = bool(_are_ids(grey, classes).all())
    white = WHITE in classes.colors and bool((grey == IGNORE_INDEX).any())
    if are_ids and not white and not unclear:
        return False
    if not np.isin(grey, [*greys, IGNORE_INDEX]).all():
        return False
    if not are_ids:
        return bits >= 8  # fewer are not told from ids that were stretched to white
    if white:
        return not one_channel or len(greys) == classes.num_classes
    for value in np.intersect1d(grey, unclear)[:1]:
        raise DataError(
            f"{path}: {value} may be the id of {classes.names[value]} or, as a colour, {classes.names[greys[value]]}. "
            "Save masks of ids with one channel; for masks of colours, put the class of that colour into the row of "
            "the class mapping that has this number, the first being 0."
        )
    return False


def _load(path: Path) -> tuple[bytes, Header]:
    """The content of a file and its header. Raises DataError for one that is not to be decoded."""
    data = _read_bytes(path)
    header = read_header(data)
    if header is None:
        raise _undecodable(path, len(data))
    if header.width * header.height > MAX_PIXELS:
        raise DataError(
            f"{path} says it has {header.width:,}x{header.height:,} pixels; images of up to {MAX_PIXELS:,} are read. "
            f"Cut it into smaller images or remove it{SKIPPING}."
        )
    if header.turned:
        raise DataError(
            f"{path} is a TIFF stored turned or mirrored, so its pixels may lie elsewhere than those of its partner. "
            "Save image and mask upright, such as with: gdal_translate, or magick -auto-orient."
        )
    return data, header


def _read_bytes(path: Path) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_BYTES:  # a named pipe would be waited for
            got = f"has {status.st_size:,} bytes" if stat.S_ISREG(status.st_mode) else "is no file"
            raise DataError(f"{path} cannot be read: it {got}. {REMEDY}")
        data = path.read_bytes()
    except OSError as error:
        reason = error.strerror or error
        if os.name == "nt" and len(str(path)) >= LONG_PATH:
            reason = f"{reason} (its path has {len(str(path))} characters: switch on long paths in Windows)"
        raise DataError(f"{path} cannot be read: {reason}. {REMEDY}") from error
    if not data:
        raise DataError(f"{path} is empty. {REMEDY}")
    return data


def _decode(path: Path, data: bytes, header: Header, flags: int) -> NDArray[Any]:
    """BGR or BGRA [H, W, channels] or grey [H, W], as OpenCV has them."""
    if header.loose_alpha:
        return _from_pillow(path, data)
    try:
        pixels = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flags)
    except (cv2.error, MemoryError) as error:
        raise DataError(
            f"{path}: {header.width:,}x{header.height:,} pixels cannot be decoded: {_first_line(error)}. {REMEDY}"
        ) from error
    if pixels is None:
        raise _undecodable(path, len(data))
    return pixels


def _from_pillow(path: Path, data: bytes) -> NDArray[Any]:
    """A TIFF with an alpha channel, [H, W, 3] BGR: OpenCV would darken its colours by how transparent they are."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.ascontiguousarray(np.asarray(image.convert("RGB"))[..., ::-1])
    except Exception as error:  # a damaged file can raise anything, struct.error and SyntaxError included
        raise _undecodable(path, len(data)) from error


def _undecodable(path: Path, size: int) -> DataError:
    return DataError(
        f"{path} ({size:,} bytes) cannot be decoded: it is damaged, or no PNG, JPEG, TIFF, BMP or WebP. {REMEDY}"
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _from_palette(path: Path, data: bytes, classes: ClassMap) -> UInt8:
    """OpenCV expands palettes to colours, so Pillow reads these."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            indices = np.asarray(image, dtype=np.uint8)
            palette = np.asarray(image.getpalette("RGB"), dtype=np.uint8).reshape(-1, 3)
    except Exception as error:  # as above
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
    valid = _are_ids(ids, classes)
    if not valid.all():
        unknown = ", ".join(str(value) for value in np.unique(ids[~valid])[:5])
        raise DataError(
            f"{path}: class id {unknown} is unknown; the {classes.num_classes} classes have the ids 0 to "
            f"{classes.num_classes - 1}, and {IGNORE_INDEX} is ignored. Correct the mask or the class mapping."
        )
    return ids.astype(np.uint8)


def _are_ids(values: NDArray[Any], classes: ClassMap) -> NDArray[np.bool_]:
    return np.less(values, classes.num_classes) | np.equal(values, IGNORE_INDEX)


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
