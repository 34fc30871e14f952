"""The files of a finished image: class map, confidence, overlay and polygons."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from semiseg.contracts import IGNORE_INDEX
from semiseg.data.classes import ClassMap
from semiseg.errors import SemisegError
from semiseg.files import move_over, write_bytes
from semiseg.inspection.sheet import overlay
from semiseg.prediction.areas import count_classes, measure
from semiseg.prediction.images import Source
from semiseg.prediction.inputs import Item
from semiseg.prediction.place import Place, gdal_errors, geo
from semiseg.prediction.planes import CLASSES, CONFIDENCE, STRIP_ROWS, Planes
from semiseg.prediction.polygons import has_geopackage, write_polygons
from semiseg.prediction.reading import Job
from semiseg.prediction.record import PIXELS, Entry, stamp
from semiseg.prediction.sources import is_raster

UInt8 = NDArray[np.uint8]
Palette = dict[int, tuple[int, int, int, int]] | None

KINDS = ("classes", "confidence", "overlay", "polygons", "areas")
OVERLAY_SIDE = 2048  # pixels of its longer side at most
SMALLEST_OVERVIEW = 256  # pixels of its longer side
RASTER = {
    "driver": "GTiff", "count": 1, "dtype": "uint8", "nodata": IGNORE_INDEX, "tiled": True, "blockxsize": 512,
    "blockysize": STRIP_ROWS, "compress": "deflate", "bigtiff": "if_safer",
}  # fmt: skip


@dataclass(frozen=True)
class Outputs:
    """Where the files of an image go, and which of them are wanted: KINDS but `areas`, which is one file for all."""

    out: Path
    classes: ClassMap
    kinds: tuple[str, ...]
    smallest_polygon: int = 0  # pixels

    def paths(self, item: Item) -> dict[str, Path]:
        """The file of each kind; the class map always, as every other comes of it."""
        suffix = ".tif" if is_raster(item.path) else ".png"
        suffixes = {"classes": suffix, "confidence": suffix, "overlay": ".png", "polygons": ".geojson"}
        return {
            kind: self.out / kind / f"{item.name}{ending}"
            for kind, ending in suffixes.items()
            if kind == "classes" or kind in self.kinds
        }

    def are_there(self, item: Item) -> bool:
        return all(path.is_file() for path in self.paths(item).values())

    def write(self, job: Job) -> Entry:
        """Every file of a finished image, each under its final name only once it is whole."""
        source, planes, paths = job.source, job.planes, self.paths(job.item)
        assert planes is not None
        palette = palette_of(self.classes)
        save = write_raster if is_raster(job.item.path) else write_picture
        save(paths["classes"], planes, CLASSES, source.place, palette)
        if "confidence" in paths:
            save(paths["confidence"], planes, CONFIDENCE, source.place, None)
        if "overlay" in paths:
            write_png(paths["overlay"], Image.fromarray(draw_overlay(source, planes, self.classes)))
        if "polygons" in paths:
            has_crs = source.place is not None and source.place.crs is not None
            geopackage = paths["polygons"].with_suffix(".gpkg") if has_crs and has_geopackage() else None
            write_polygons(paths["polygons"], geopackage, planes, source.place, self.classes, self.smallest_polygon)
        made_of = stamp(job.item.path) if job.item.path.is_file() else ""  # it may have gone meanwhile
        scale = measure(source.place, source.height, source.width)
        pixels, hectares = count_classes(planes, self.classes.num_classes, scale)
        method = PIXELS if scale is None else scale.method
        return Entry(job.item.name, source.height, source.width, pixels, hectares, method, source.problems, made_of)


def palette_of(classes: ClassMap) -> dict[int, tuple[int, int, int, int]]:
    """Red, green, blue and opacity of each class id."""
    return {number: (*color, 255) for number, color in enumerate(classes.colors)}


def write_png(path: Path, image: Image.Image) -> None:
    data = io.BytesIO()
    image.save(data, "PNG", compress_level=1)
    write_bytes(path, data.getvalue())


def write_picture(path: Path, planes: Planes, plane: int, place: Place | None, palette: Palette) -> None:
    """A PNG: class ids with the classes' colours as its palette, or grey percent. White where there is no data."""
    image = Image.fromarray(planes.read(plane, 0, planes.height))
    if palette is not None:
        table = np.full((256, 3), 255, dtype=np.uint8)
        table[: len(palette)] = [color[:3] for color in palette.values()]
        image.putpalette(table.tobytes())
    write_png(path, image)


def write_raster(path: Path, planes: Planes, plane: int, place: Place | None, palette: Palette) -> None:
    """A tiled, compressed GeoTIFF with overviews, in the place of its source.

    It is read again before it gets its name, because GDAL keeps to itself what goes wrong when it closes a file, such
    as a full disk. Raises SemisegError where it does not hold what was written.
    """
    assert place is not None
    aside = path.with_name(f"unfinished-{path.name}")
    aside.parent.mkdir(parents=True, exist_ok=True)
    try:
        _draw_raster(aside, planes, plane, place, palette)
        whole = _holds(aside, planes, plane)
    except gdal_errors():
        whole = False
    if not whole:
        aside.unlink(missing_ok=True)
        raise SemisegError(
            f"{path} could not be written whole. Free space there, or give another folder with out=, and call again: "
            "images that are finished are not predicted again."
        )
    move_over(aside, path)


def _draw_raster(path: Path, planes: Planes, plane: int, place: Place, palette: Palette) -> None:
    rasterio = geo()
    profile = RASTER | place.profile | {"height": planes.height, "width": planes.width}
    with rasterio.open(path, "w", num_threads="all_cpus", **profile) as raster:
        if palette is not None:
            raster.write_colormap(1, palette | {IGNORE_INDEX: (0, 0, 0, 0)})
        raster.set_band_description(1, "class" if palette else "confidence in percent")
        for top, strip in planes.strips(plane):
            raster.write(strip, 1, window=rasterio.windows.Window(0, top, planes.width, len(strip)))
    if factors := overview_factors(planes.height, planes.width):
        way = rasterio.enums.Resampling.nearest if palette else rasterio.enums.Resampling.average
        with rasterio.open(path, "r+") as raster:
            raster.build_overviews(factors, way)


def _holds(path: Path, planes: Planes, plane: int) -> bool:
    """Whether a raster reads as the plane that it was made of, and has all its overviews."""
    rasterio = geo()
    with rasterio.open(path, num_threads="all_cpus") as raster:
        for top, strip in planes.strips(plane):
            window = rasterio.windows.Window(0, top, planes.width, len(strip))
            if not np.array_equal(raster.read(1, window=window), strip):
                return False
        levels = len(raster.overviews(1))
    wanted = len(overview_factors(planes.height, planes.width))
    return levels == wanted and all(_has_overview(path, level) for level in range(levels))


def _has_overview(path: Path, level: int) -> bool:
    """Whether every block of an overview lies within the file."""
    end = path.stat().st_size
    with geo().open(path) as raster, geo().open(path, overview_level=level) as overview:
        for (row, column), _ in overview.block_windows(1):
            offset, size = (
                raster.get_tag_item(f"BLOCK_{what}_{column}_{row}", "TIFF", bidx=1, ovr=level)
                for what in ("OFFSET", "SIZE")
            )
            if offset is None or size is None or int(offset) + int(size) > end:
                return False
    return True


def overview_factors(height: int, width: int) -> list[int]:
    """2, 4, 8, ... down to an overview of about 256 pixels."""
    longest, factors = max(height, width), []
    while longest / 2 ** len(factors) > SMALLEST_OVERVIEW:
        factors.append(2 ** (len(factors) + 1))
    return factors


def fitted(height: int, width: int, longest: int) -> tuple[int, int]:
    """Height and width with the longer side at most `longest`."""
    scale = min(1, longest / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def draw_overlay(source: Source, planes: Planes, classes: ClassMap) -> UInt8:
    """The image under its classes, [h, w, 3], no longer than OVERLAY_SIDE."""
    size = fitted(source.height, source.width, OVERLAY_SIDE)
    return overlay(source.thumbnail(*size), planes.thumbnail(CLASSES, *size), classes.colors)
