"""How much land each class covers."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semiseg.contracts import IGNORE_INDEX
from semiseg.data.classes import ClassMap
from semiseg.data.index import write_atomically
from semiseg.prediction.place import Place, geo
from semiseg.prediction.planes import CLASSES, Planes
from semiseg.prediction.record import Entry

EQUAL_AREA = "EPSG:6933"  # cylindrical, on the WGS 84 ellipsoid
SQUARE_METRES = 10_000  # of a hectare
TRUE_WITHIN = 0.01  # a projection that distorts areas by more is not measured in its plane
PATCH = 64  # pixels a side over which the size of one is taken: smaller ones drown in rounding
COUNTED_AT_ONCE = 2**22  # pixels: bincount needs eight bytes for each
HEADER = ("image", "class", "pixels", "share", "hectares", "method")


@dataclass(frozen=True)
class Measure:
    """Hectares of a pixel of row `row`, and how they are found."""

    hectares: Callable[[float], float]
    method: str


def measure(place: Place | None, height: int, width: int) -> Measure | None:
    """How to measure a raster; None where its CRS is missing or of no known units.

    In the plane of a projected CRS, where that is true to within 1 %. Degrees, and projections that stretch areas (Web
    Mercator doubles them at 45 degrees), are measured on the ellipsoid, row by row.
    """
    if place is None or place.crs is None or not (place.crs.is_projected or place.crs.is_geographic):
        return None
    ellipsoid = _on_the_ellipsoid(place, width)
    if place.crs.is_projected:
        metres = place.crs.linear_units_factor[1]
        plane = abs(place.transform.determinant) * metres**2 / SQUARE_METRES
        if abs(plane / ellipsoid(height / 2) - 1) <= TRUE_WITHIN:
            return Measure(lambda row: plane, f"plane of {_name(place.crs)}")
    return Measure(ellipsoid, "WGS 84 ellipsoid")


def _on_the_ellipsoid(place: Place, width: int) -> Callable[[float], float]:
    """Corners of a square of pixels in the middle of a row, carried over to a projection of equal areas."""
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * PATCH / 2

    def hectares(row: float) -> float:
        x, y = zip(*(place.point(width / 2 + dx, row + dy) for dx, dy in corners.tolist()), strict=True)
        east, north = (np.array(values) for values in geo().warp.transform(place.crs, EQUAL_AREA, x, y)[:2])
        east, north = east - east[0], north - north[0]
        area = abs(np.dot(east, np.roll(north, 1)) - np.dot(north, np.roll(east, 1))) / 2
        return float(area) / PATCH**2 / SQUARE_METRES

    return hectares


def _name(crs: Any) -> str:
    code = crs.to_epsg()
    return f"EPSG:{code}" if code else "the raster's CRS"


def count_classes(planes: Planes, num_classes: int, scale: Measure | None) -> tuple[list[int], list[float] | None]:
    """Pixels of each class and without data, [C + 1], and hectares of each class, [C]."""
    pixels, area = np.zeros(num_classes + 1, dtype=np.int64), np.zeros(num_classes)
    for top, strip in planes.strips(CLASSES):
        here = _histogram(strip)
        pixels[:-1] += here[:num_classes]
        pixels[-1] += here[IGNORE_INDEX]
        if scale is not None:
            area += here[:num_classes] * scale.hectares(top + len(strip) / 2)
    return pixels.tolist(), None if scale is None else area.tolist()


def _histogram(strip: NDArray[np.uint8]) -> NDArray[np.int64]:
    """[256]"""
    flat, counts = strip.ravel(), np.zeros(256, dtype=np.int64)
    for start in range(0, len(flat), COUNTED_AT_ONCE):
        counts += np.bincount(flat[start : start + COUNTED_AT_ONCE], minlength=256)
    return counts


def write_areas(path: Path, entries: Callable[[], Iterable[Entry]], classes: ClassMap) -> None:
    """areas.csv: the whole first, then every image with the classes it shows. Shares are of the pixels with data."""
    total, measured = np.zeros(classes.num_classes + 1, dtype=np.int64), np.zeros(classes.num_classes)
    methods: set[str] = set()
    for entry in entries():
        total += entry.pixels
        measured += entry.hectares or 0
        methods.add("pixels" if entry.hectares is None else entry.method)
    hectares = None if "pixels" in methods else measured.tolist()
    whole = Entry("(all)", 0, 0, total.tolist(), hectares, "; ".join(sorted(methods)))

    def write(file: Any) -> None:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        table = csv.writer(text, lineterminator="\n")
        table.writerow(HEADER)
        table.writerows(_rows(whole, classes, absent=True))
        for entry in entries():
            table.writerows(_rows(entry, classes, absent=False))
        text.flush()
        text.detach()

    write_atomically(path, write)


def _rows(entry: Entry, classes: ClassMap, absent: bool) -> Iterator[tuple[str, str, int, str, str, str]]:
    seen = max(1, sum(entry.pixels[:-1]))
    for number, name in enumerate(classes.names):
        pixels = entry.pixels[number]
        if pixels or absent:
            hectares = "" if entry.hectares is None else f"{entry.hectares[number]:.6g}"
            yield entry.image, name, pixels, f"{pixels / seen:.6f}", hectares, entry.method
