"""How much land each class covers."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semiseg.contracts import IGNORE_INDEX
from semiseg.data.classes import ClassMap
from semiseg.files import write_atomically
from semiseg.prediction.place import Place, geo
from semiseg.prediction.planes import CLASSES, Planes
from semiseg.prediction.record import PIXELS, Entry

EQUAL_AREA = "EPSG:6933"  # cylindrical, on the WGS 84 ellipsoid
ROUND_THE_WORLD = 2 * 17_367_530.445161  # metres of EQUAL_AREA from the antimeridian to itself
SQUARE_METRES = 10_000  # of a hectare
TRUE_WITHIN = 0.01  # a projection that distorts areas by more is not measured in its plane
HEADER = ("image", "class", "pixels", "share", "hectares", "method")
WHOLE, NO_DATA = "(all)", "(no data)"


@dataclass(frozen=True)
class Measure:
    """Hectares of a pixel of each row from `first` to before `last`, [last - first], and how they are found."""

    hectares: Callable[[int, int], NDArray[np.float64]]
    method: str


def measure(place: Place | None, height: int, width: int) -> Measure | None:
    """How to measure a raster; None where its CRS is missing or of no known units.

    In the plane of a projected CRS, where that is true to within 1 % in the middle of the raster. Degrees, and
    projections that stretch areas (Web Mercator doubles them at 45 degrees), are measured on the ellipsoid, row by row.
    """
    if place is None or place.crs is None or not (place.crs.is_projected or place.crs.is_geographic):
        return None
    ellipsoid = _on_the_ellipsoid(place, width)
    if place.crs.is_projected:
        metres = place.crs.linear_units_factor[1]
        plane = abs(place.transform.determinant) * metres**2 / SQUARE_METRES
        true = float(ellipsoid(height // 2, height // 2 + 1)[0])
        if abs(plane - true) <= TRUE_WITHIN * true:
            return Measure(lambda first, last: np.full(last - first, plane), f"plane of {_name(place.crs)}")
    return Measure(ellipsoid, "WGS 84 ellipsoid")


def _on_the_ellipsoid(place: Place, width: int) -> Callable[[int, int], NDArray[np.float64]]:
    """The pixel in the middle of each row, carried over to a projection of equal areas; what lies off Earth is none."""
    left = (width - 1) / 2

    def hectares(first: int, last: int) -> NDArray[np.float64]:
        rows = range(first, last + 1)
        corners = [place.point(column, row) for column in (left, left + 1) for row in rows]
        west, east = np.split(_equal_area(place.crs, np.array(corners)), 2)
        down, up = east[1:] - west[:-1], west[1:] - east[:-1]  # the diagonals
        for diagonal in (down, up):
            diagonal[:, 0] -= ROUND_THE_WORLD * np.round(diagonal[:, 0] / ROUND_THE_WORLD)
        area = np.abs(down[:, 0] * up[:, 1] - down[:, 1] * up[:, 0]) / 2
        return np.nan_to_num(area, nan=0.0, posinf=0.0) / SQUARE_METRES

    return hectares


def _equal_area(crs: Any, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """[n, 2] points of a CRS in EQUAL_AREA; nan for those that are nowhere on Earth."""
    if crs.is_geographic:  # rasters of whole degrees reach half a pixel past the poles
        pole = np.pi / 2 / crs.units_factor[1]
        points[:, 1] = points[:, 1].clip(-pole, pole)
    try:
        return np.stack(geo().warp.transform(crs, EQUAL_AREA, points[:, 0], points[:, 1])[:2], axis=1)
    except Exception:  # GDAL's own errors, of which rasterio exports no type
        if len(points) == 1:
            return np.full((1, 2), np.nan)
        return np.concatenate([_equal_area(crs, half) for half in np.array_split(points, 2)])


def _name(crs: Any) -> str:
    code = crs.to_epsg()
    return f"EPSG:{code}" if code else "the raster's CRS"


def count_classes(planes: Planes, num_classes: int, scale: Measure | None) -> tuple[list[int], list[float] | None]:
    """Pixels of each class and without data, [C + 1], and hectares of each class, [C]."""
    pixels, area = np.zeros(num_classes + 1, dtype=np.int64), np.zeros(num_classes)
    values = (*range(num_classes), IGNORE_INDEX)
    for top, strip in planes.strips(CLASSES):
        # A comparison for each class takes a byte a pixel; bincount would make every pixel an int64 first.
        here = np.stack([np.count_nonzero(strip == value, axis=1) for value in values], axis=1)
        pixels += here.sum(0)
        if scale is not None:
            area += scale.hectares(top, top + len(strip)) @ here[:, :num_classes]
    return pixels.tolist(), None if scale is None else area.tolist()


def write_areas(path: Path, entries: Callable[[], Iterable[Entry]], classes: ClassMap) -> None:
    """areas.csv: the whole first, then every image with the classes it shows. Shares are of the pixels with data."""
    whole = _together(entries(), classes.num_classes)

    def write(file: Any) -> None:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        table = csv.writer(text, lineterminator="\n")
        table.writerow(HEADER)
        table.writerows(_rows(whole, classes, absent=True))
        for entry in entries():
            table.writerows(_rows(entry, classes, absent=False) if any(entry.pixels[:-1]) else [_no_data(entry)])
        text.flush()
        text.detach()

    write_atomically(path, write)


def _together(entries: Iterable[Entry], num_classes: int) -> Entry:
    """All images as one: the hectares are those of the images that have any, and `method` says how many have none."""
    total, measured = np.zeros(num_classes + 1, dtype=np.int64), np.zeros(num_classes)
    methods: Counter[str] = Counter()
    for entry in entries:
        total += entry.pixels
        if entry.hectares is None:
            methods[PIXELS] += 1
        else:
            methods[entry.method] += 1
            measured += entry.hectares
    images, without = methods.total(), methods.pop(PIXELS, 0)
    if not methods:
        return Entry(WHOLE, 0, 0, total.tolist(), None, PIXELS)
    method = next(iter(methods)) if len(methods) == 1 else "each image by its own"
    left_out = f"; without {without:,} of {images:,} images (no CRS)" if without else ""
    return Entry(WHOLE, 0, 0, total.tolist(), measured.tolist(), f"{method}{left_out}")


Row = tuple[str, str, int, str, str, str]


def _no_data(entry: Entry) -> Row:
    return entry.image, NO_DATA, entry.pixels[-1], "", "", entry.method


def _rows(entry: Entry, classes: ClassMap, absent: bool) -> Iterator[Row]:
    seen = max(1, sum(entry.pixels[:-1]))
    for number, name in enumerate(classes.names):
        pixels = entry.pixels[number]
        if pixels or absent:
            hectares = "" if entry.hectares is None else f"{entry.hectares[number]:.6g}"
            yield entry.image, name, pixels, f"{pixels / seen:.6f}", hectares, entry.method
