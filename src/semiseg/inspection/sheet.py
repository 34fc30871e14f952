"""The contact sheet: captioned pictures in sections below a legend, drawn onto one white page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from semiseg.printable import printable
from semiseg.samples import color_mask

UInt8 = NDArray[np.uint8]
Color = tuple[int, int, int]

SIDE = 192  # pixels of a picture
GAP = 12  # between tiles, and around the page
SEAM = 2  # between the pictures of a pair
COLUMNS = 4  # pairs a row; pictures without a mask stand twice as close
PITCH = 2 * SIDE + SEAM + GAP  # from pair to pair
WIDTH = COLUMNS * PITCH + GAP
SMALL, MEDIUM, LARGE = (ImageFont.load_default(size) for size in (12, 14, 22))
LINE = 18  # height of a line of text
BLACK, GREY, WHITE = (20, 20, 20), (110, 110, 110), (255, 255, 255)
OPACITY = 0.45  # of a mask over its image


@dataclass(frozen=True)
class Tile:
    """A picture, or an image beside its mask, with two lines below; each picture is [H, W, 3]."""

    pictures: Sequence[UInt8]
    title: str
    subtitle: str

    @property
    def width(self) -> int:
        return len(self.pictures) * (SIDE + SEAM) - SEAM


@dataclass(frozen=True)
class Section:
    """Tiles of one kind below a heading."""

    heading: str
    tiles: Sequence[Tile]

    @property
    def columns(self) -> int:
        return COLUMNS * 2 if len(self.tiles[0].pictures) == 1 else COLUMNS


def overlay(image: UInt8, mask: UInt8, colors: tuple[Color, ...]) -> UInt8:
    """An image [H, W, 3] under its mask [H, W], the borders of the classes in full colour; ignored pixels are white."""
    color = color_mask(mask, colors)
    mixed = cv2.addWeighted(image, 1 - OPACITY, color, OPACITY, 0)
    border = np.zeros(mask.shape, dtype=np.bool_)
    border[:, :-1] |= mask[:, :-1] != mask[:, 1:]
    border[:-1] |= mask[:-1] != mask[1:]
    mixed[border] = color[border]
    return np.asarray(mixed, dtype=np.uint8)


def fit(picture: UInt8, interpolation: int) -> UInt8:
    """Resized so that the longer side is SIDE. Masks need INTER_NEAREST."""
    height, width = picture.shape[:2]
    scale = SIDE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(picture, size, interpolation=interpolation), dtype=np.uint8)


def draw_sheet(title: str, subtitle: str, legend: Sequence[tuple[str, Color]], sections: Sequence[Section]) -> UInt8:
    """The whole page, [H, WIDTH, 3] RGB. Sections without a tile are left out."""
    sections = [section for section in sections if section.tiles]
    swatches = _legend_places(legend)
    top = GAP + 30 + LINE + GAP + (swatches[-1][1] + 1) * (LINE + 6)
    heights = [_section_height(section) for section in sections]
    page = Image.new("RGB", (WIDTH, top + sum(heights) + GAP), WHITE)
    draw = ImageDraw.Draw(page)
    draw.text((GAP, GAP), _shortened(title, LARGE, WIDTH - 2 * GAP), BLACK, LARGE)
    draw.text((GAP, GAP + 30), _shortened(subtitle, SMALL, WIDTH - 2 * GAP), GREY, SMALL)
    for (left, row), (name, color) in zip(swatches, legend, strict=True):
        y = GAP + 30 + LINE + GAP + row * (LINE + 6)
        draw.rectangle((left, y, left + 26, y + LINE - 2), color, outline=GREY)
        draw.text((left + 34, y), name, BLACK, MEDIUM)
    for section, height in zip(sections, heights, strict=True):
        _draw_section(page, draw, section, top)
        top += height
    return np.asarray(page)


def _legend_places(legend: Sequence[tuple[str, Color]]) -> list[tuple[int, int]]:
    """Left edge and row of each entry, wrapped at the page's width."""
    places, left, row = [], GAP, 0
    for name, _ in legend:
        width = 34 + round(MEDIUM.getlength(name)) + 2 * GAP
        if left > GAP and left + width > WIDTH:
            left, row = GAP, row + 1
        places.append((left, row))
        left += width
    return places


def _section_height(section: Section) -> int:
    rows = -(-len(section.tiles) // section.columns)
    return GAP + LINE + GAP + rows * (SIDE + 2 * LINE + GAP)


def _draw_section(page: Image.Image, draw: ImageDraw.ImageDraw, section: Section, top: int) -> None:
    draw.line((GAP, top + GAP // 2, WIDTH - GAP, top + GAP // 2), GREY)
    draw.text((GAP, top + GAP), section.heading, BLACK, MEDIUM)
    for number, tile in enumerate(section.tiles):
        row, column = divmod(number, section.columns)
        left = GAP + column * (WIDTH - 2 * GAP - tile.width) // (section.columns - 1)
        y = top + GAP + LINE + GAP + row * (SIDE + 2 * LINE + GAP)
        x = left
        for picture in tile.pictures:
            page.paste(Image.fromarray(picture), (x, y))
            x += picture.shape[1] + SEAM
        draw.text((left, y + SIDE + 2), _shortened(tile.title, MEDIUM, tile.width), BLACK, MEDIUM)
        draw.text((left, y + SIDE + LINE), _shortened(tile.subtitle, SMALL, tile.width), GREY, SMALL)


def _shortened(text: str, font: ImageFont.ImageFont | ImageFont.FreeTypeFont, width: int) -> str:
    """As much of the end of a text as fits: names of patches differ there. Line ends and the like are written out."""
    text = printable(text)
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"...{text}") > width:
        text = text[1:]
    return f"...{text}"
