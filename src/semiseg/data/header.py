"""What an image file says of itself in its first bytes, read before anything is decoded.

A header costs nothing to forge: 60,000 x 60,000 pixels fit into a file of a few bytes, and decoding them would take the
memory of the machine. So the size is read first, which takes a PNG or JPEG a few microseconds.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

HEADER_BYTES = 2**16
JPEG_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # markers of a frame; the three are tables
JPEG_ALONE = frozenset((0x00, 0x01, *range(0xD0, 0xD8)))  # markers without a length behind them
JPEG_DATA = (0xDA, 0xD9)  # from here on there is no frame any more
TIFF_WIDTH, TIFF_HEIGHT, TIFF_BITS, TIFF_PHOTOMETRIC = 256, 257, 258, 262
TIFF_ORIENTATION, TIFF_EXTRA_SAMPLES = 274, 338
TIFF_PALETTE, TIFF_UNASSOCIATED_ALPHA = 3, 2
TIFF_SIZES = {1: 1, 3: 2, 4: 4, 16: 8}  # bytes of a whole number, by its type
MAX_VALUES = 8  # of a tag; what is asked for has one a channel


class Header(NamedTuple):
    """Format and size of an image, and what makes a difference to how it must be read."""

    kind: str  # "png", "jpeg", "tiff", "bmp" or "webp"
    width: int
    height: int
    bits: int = 8  # a sample
    palette: bool = False  # PNG and TIFF: pixels are indices
    turned: bool = False  # TIFF: stored in another orientation than upright
    loose_alpha: bool = False  # TIFF of 8 bits: colours are not multiplied with the alpha channel yet


def header_of(path: Path) -> Header | None:
    """The header of a file by its first HEADER_BYTES, None where they do not hold one."""
    if not path.is_file():  # nor a pipe, which would be waited for
        return None
    try:
        with path.open("rb") as file:
            return read_header(file.read(HEADER_BYTES))
    except OSError:  # told when the image is read
        return None


def read_header(data: bytes) -> Header | None:
    """The header of a PNG, JPEG, TIFF, BMP or WebP, by its content and whatever its name; None for anything else."""
    for start, parse in PARSERS.items():
        if data.startswith(start):
            try:
                return parse(data)
            except Exception:  # a forged or damaged directory can raise anything, KeyError and IndexError included
                return None
    return None


def _png(data: bytes) -> Header | None:
    if data[12:16] != b"IHDR":
        return None
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    return Header("png", width, height, bits=data[24], palette=data[25] == 3)


def _jpeg(data: bytes) -> Header | None:
    """Walk from marker to marker, as decoders do, up to the frame that holds the size."""
    at = data.index(b"\xff", 2)
    while data[at + 1] not in JPEG_SIZES:
        marker = data[at + 1]
        if marker in JPEG_DATA:
            return None
        length = 1 if marker == 0xFF else 2  # bytes to fill up may precede a marker
        if marker != 0xFF and marker not in JPEG_ALONE:
            length += int.from_bytes(data[at + 2 : at + 4], "big")
        at = data.index(b"\xff", at + length)
    height, width = int.from_bytes(data[at + 5 : at + 7], "big"), int.from_bytes(data[at + 7 : at + 9], "big")
    return Header("jpeg", width, height)


def _tiff(data: bytes) -> Header:
    """The first page, which is the one that is decoded, in a classic TIFF or a BigTIFF."""
    tags = _tiff_tags(data)
    bits = tags.get(TIFF_BITS, (1,))[0]
    return Header(
        "tiff",
        tags[TIFF_WIDTH][0],
        tags[TIFF_HEIGHT][0],
        bits=bits,
        palette=tags.get(TIFF_PHOTOMETRIC) == (TIFF_PALETTE,),
        turned=tags.get(TIFF_ORIENTATION, (1,))[0] not in (0, 1),
        loose_alpha=TIFF_UNASSOCIATED_ALPHA in tags.get(TIFF_EXTRA_SAMPLES, ()) and bits == 8,
    )


def _tiff_tags(data: bytes) -> dict[int, tuple[int, ...]]:
    """The whole numbers of a directory. Of a tag given twice the first counts, as it does for the decoder."""
    order = "little" if data[:1] == b"I" else "big"

    def number(at: int, size: int) -> int:
        return int.from_bytes(data[at : at + size], order)

    word = 8 if b"+" in data[2:4] else 4  # of a BigTIFF and a classic one
    start = number(word, word)
    count, at = (number(start, 8), start + 8) if word == 8 else (number(start, 2), start + 2)
    tags: dict[int, tuple[int, ...]] = {}
    for entry in range(at, min(at + count * (4 + 2 * word), len(data)), 4 + 2 * word):
        tag, size, length = number(entry, 2), TIFF_SIZES.get(number(entry + 2, 2)), number(entry + 4, word)
        if size is not None and tag not in tags:
            place = entry + 4 + word
            place = place if size * length <= word else number(place, word)
            tags[tag] = tuple(number(place + size * k, size) for k in range(min(length, MAX_VALUES)))
    return tags


def _bmp(data: bytes) -> Header:
    old = int.from_bytes(data[14:18], "little") == 12  # of OS/2, with two bytes a side
    if old:
        return Header("bmp", int.from_bytes(data[18:20], "little"), int.from_bytes(data[20:22], "little"))
    height = int.from_bytes(data[22:26], "little", signed=True)
    return Header("bmp", int.from_bytes(data[18:22], "little"), abs(height))  # below 0: from top to bottom


def _webp(data: bytes) -> Header | None:
    if data[8:12] != b"WEBP":
        return None
    chunk = data[12:16]
    if chunk == b"VP8X":
        width, height = (1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
    elif chunk == b"VP8L":
        sides = int.from_bytes(data[21:25], "little")
        width, height = 1 + (sides & 0x3FFF), 1 + (sides >> 14 & 0x3FFF)
    else:
        width, height = (int.from_bytes(data[at : at + 2], "little") & 0x3FFF for at in (26, 28))
    return Header("webp", width, height)


PARSERS: dict[bytes, Callable[[bytes], Header | None]] = {
    b"\xff\xd8": _jpeg,
    b"\x89PNG\r\n\x1a\n": _png,
    b"II*\0": _tiff,
    b"MM\0*": _tiff,
    b"II+\0": _tiff,
    b"MM\0+": _tiff,
    b"BM": _bmp,
    b"RIFF": _webp,
}
