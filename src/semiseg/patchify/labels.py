"""The truth of a base image, window by window: a mask of the same size, or polygons that lie over it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semiseg.config import near
from semiseg.contracts import IGNORE_INDEX
from semiseg.data.classes import ClassMap
from semiseg.data.masks import read_mask
from semiseg.errors import ConfigError, DataError
from semiseg.prediction.images import Source
from semiseg.prediction.inputs import Item, find_items
from semiseg.prediction.place import geo

UInt8 = NDArray[np.uint8]


class Labels(ABC):
    """Class ids of one base image, 255 where nothing is known."""

    @abstractmethod
    def read(self, top: int, left: int, height: int, width: int) -> UInt8:
        """[h, w]"""


class Masked(Labels):
    """A mask file. Raises DataError where it cannot be read or has another size than the image."""

    def __init__(self, path: Path, item: Item, source: Source, classes: ClassMap) -> None:
        self.mask = read_mask(path, classes)
        if self.mask.shape != (source.height, source.width):
            raise DataError(
                f"{path}: the mask has {self.mask.shape[1]}x{self.mask.shape[0]} pixels, its image {item.path} "
                f"{source.width}x{source.height}. Give both the same size."
            )

    def read(self, top: int, left: int, height: int, width: int) -> UInt8:
        return self.mask[top : top + height, left : left + width]


class Drawn(Labels):
    """Polygons over a raster: a pixel has the class of the last one that holds its centre, else `outside`."""

    def __init__(self, geometries: NDArray[Any], ids: NDArray[np.int64], source: Source, outside: int) -> None:
        import shapely

        assert source.place is not None
        self.geometries, self.ids, self.outside = geometries, ids, outside
        self.tree, self.place = shapely.STRtree(geometries), source.place

    def read(self, top: int, left: int, height: int, width: int) -> UInt8:
        import shapely

        right, bottom = left + width, top + height
        corners = [self.place.point(*corner) for corner in ((left, top), (right, top), (right, bottom), (left, bottom))]
        found = np.sort(self.tree.query(shapely.Polygon(corners)))  # in the order of the file
        if not len(found):
            return np.full((height, width), self.outside, dtype=np.uint8)
        shapes = [(self.geometries[number], int(self.ids[number])) for number in found]
        here = self.place.window_transform(left, top)
        return geo().features.rasterize(
            shapes, out_shape=(height, width), transform=here, fill=self.outside, dtype="uint8"
        )


class Polygons:
    """A file of polygons with the class of each in a column; `passed_over` says what else it holds, None if nothing.

    Raises ConfigError for a missing library or column and for an unknown class, and DataError for a file that cannot be
    read, has no CRS or no polygon.
    """

    def __init__(self, path: Path, column: str, classes: ClassMap, outside: int) -> None:
        self.path, self.outside = path, outside
        meta, geometries, columns, self.passed_over = only_polygons(path, *read_vector(path))
        if column not in columns:
            raise ConfigError(
                f"{path} has no column {column!r} for the class. {near(column, columns)} Give class_column=."
            )
        self.crs = meta["crs"]
        if self.crs is None:
            raise DataError(
                f"{path} has no CRS, so it cannot be laid over a raster. Add it (a .prj file for Shapefiles)."
            )
        self.ids = np.array([class_id(value, classes, path) for value in columns[column]], dtype=np.int64)
        self.geometries = geometries

    def over(self, item: Item, source: Source) -> Drawn:
        """Carried over to the CRS of a raster. Raises DataError for an image without one."""
        if source.place is None or source.place.crs is None:
            raise DataError(
                f"{item.path} has no CRS, so it is not known where the polygons of {self.path.name} lie on it. Give a "
                "georeferenced raster, or masks=FOLDER."
            )
        mine, theirs = geo().crs.CRS.from_user_input(self.crs), source.place.crs
        moved = self.geometries if mine == theirs else self._carried(mine, theirs, source)
        return Drawn(moved, self.ids, source, self.outside)

    def _carried(self, mine: Any, theirs: Any, source: Source) -> NDArray[Any]:
        """To another CRS; of polygons that reach far beyond the raster only what is near it.

        An edge of theirs that is straight here may be none there, or end where that CRS has no points.
        """
        import shapely

        def carry(points: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.stack(geo().warp.transform(mine, theirs, points[:, 0], points[:, 1])[:2], axis=1)

        geometries, (west, south, east, north) = self.geometries.copy(), _around(source, theirs, mine)
        if np.isfinite([west, south, east, north]).all() and west < east:  # not across the antimeridian
            bounds = shapely.bounds(geometries)
            far = (bounds[:, :2] < (west, south)).any(axis=1) | (bounds[:, 2:] > (east, north)).any(axis=1)
            geometries[far] = shapely.clip_by_rect(shapely.make_valid(geometries[far]), west, south, east, north)
        return shapely.transform(geometries, carry)


def _around(source: Source, theirs: Any, mine: Any) -> tuple[float, float, float, float]:
    """West, south, east and north in the CRS `mine` of a raster in `theirs`, and of half its size on each side."""
    assert source.place is not None
    ends = product((0, source.width), (0, source.height))
    x, y = zip(*(source.place.point(*end) for end in ends), strict=True)
    west, south, east, north = geo().warp.transform_bounds(theirs, mine, min(x), min(y), max(x), max(y))
    wide, high = (east - west) / 2, (north - south) / 2
    return west - wide, south - high, east + wide, north + high


def read_vector(path: Path) -> tuple[Mapping[str, Any], NDArray[Any], dict[str, NDArray[Any]]]:
    """What pyogrio knows of a file, its geometries and its columns; rows without a geometry are left out."""
    try:
        import pyogrio.errors
        import shapely
        from pyogrio.raw import read
    except ImportError as error:
        raise ConfigError('polygons= needs pyogrio and shapely: pip install -e ".[geo]"') from error
    if not path.exists():
        raise DataError(f"polygons={path} does not exist. Give a GeoJSON, Shapefile or GeoPackage.")
    try:
        meta, _, wkb, values = read(path, force_2d=True)
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
        raise DataError(
            f"{path} cannot be read: {str(error).splitlines()[0]} Give a GeoJSON, Shapefile or GeoPackage."
        ) from error
    if wkb is None or not len(wkb):
        raise DataError(f"{path} has no polygons. Give a file that has some.")
    geometries = shapely.from_wkb(wkb)
    there = ~(shapely.is_missing(geometries) | shapely.is_empty(geometries))
    columns = {str(name): value[there] for name, value in zip(meta["fields"], values, strict=True)}
    return meta, geometries[there], columns


def only_polygons(
    path: Path, meta: Mapping[str, Any], geometries: NDArray[Any], columns: dict[str, NDArray[Any]]
) -> tuple[Mapping[str, Any], NDArray[Any], dict[str, NDArray[Any]], str | None]:
    """The rows that have an area, and a sentence about the others: a line would be drawn as wide as a pixel.

    Raises DataError where no row has one.
    """
    import shapely

    flat = np.isin(shapely.get_type_id(geometries), [shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON])
    if flat.all():
        return meta, geometries, columns, None
    others = Counter(geometry.geom_type for geometry in geometries[~flat])
    named = ", ".join(f"{number:,} {kind}" for kind, number in sorted(others.items()))
    if not flat.any():
        raise DataError(f"{path} holds no polygons but {named}. Draw the areas of the classes as polygons.")
    said = f"{path}: {named} of {len(geometries):,} features are no polygons and are passed over."
    return meta, geometries[flat], {name: values[flat] for name, values in columns.items()}, said


def class_id(value: Any, classes: ClassMap, path: Path) -> int:
    """The id of a class given by its name or its number."""
    text = str(value).strip()
    if text in classes.names:
        return classes.names.index(text)
    number = int(value) if isinstance(value, int | float | np.number) and float(value).is_integer() else -1
    if not 0 <= number < classes.num_classes:
        raise ConfigError(f"{path} has the class {text!r}, which the mapping has not. {near(text, classes.names)}")
    return number


def find_masks(folder: Path, items: list[Item], out: Path) -> dict[str, Path]:
    """The mask of each base image, by its name. Raises DataError for one that belongs to no image."""
    names = {item.path.stem if folder.is_file() else item.name for item in items}
    masks = {item.name: item.path for item in find_items(folder, out)}
    if folder.is_file() and len(items) == 1:  # one image and its mask may have any names
        return {items[0].name: folder}
    lost = sorted(masks.keys() - names)
    if lost:
        raise DataError(
            f"{masks[lost[0]]} is a mask without an image ({len(lost)} of {len(masks)} masks are). Give each mask the "
            "name of its image, or remove it."
        )
    return masks


def outside_id(outside: str | None, classes: ClassMap) -> int:
    """The id of the class of all that no polygon covers; 255, ignored, without one."""
    if outside is None:
        return IGNORE_INDEX
    if outside not in classes.names:
        raise ConfigError(f"outside={outside} is no class. {near(outside, classes.names)}")
    return classes.names.index(outside)
