"""Areas of one class as polygons: GeoJSON, and for a raster with a CRS GeoPackage, where pyogrio is installed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from semiseg.contracts import IGNORE_INDEX
from semiseg.data.classes import ClassMap
from semiseg.data.index import write_atomically
from semiseg.prediction.place import Place, geo
from semiseg.prediction.planes import CLASSES, Planes

BLOCK = 4096  # pixels a side: polygons are cut at its edges, so that a raster of any size takes the same memory
WGS84 = "EPSG:4326"
DIGITS = 8  # of a degree: a millimetre


class Area(NamedTuple):
    """A polygon as GeoJSON has it, in the coordinates of the raster, or in pixels where it has no place."""

    geometry: dict[str, Any]
    class_id: int


def areas(planes: Planes, place: Place | None, smallest: int) -> Iterator[list[Area]]:
    """The polygons of one block after the other; what is smaller than `smallest` pixels joins its neighbour."""
    features = geo().features
    place = place or Place(None, geo().Affine.identity())
    for top, strip in planes.strips(CLASSES, BLOCK):
        for left in range(0, planes.width, BLOCK):
            block = np.ascontiguousarray(strip[:, left : left + BLOCK])
            seen = block != IGNORE_INDEX
            if smallest > 1 and seen.any():
                block = features.sieve(block, smallest, mask=seen)
            found = features.shapes(block, mask=seen, transform=place.window_transform(left, top))
            yield [Area(geometry, int(class_id)) for geometry, class_id in found]


def write_geojson(path: Path, planes: Planes, place: Place | None, classes: ClassMap, smallest: int) -> None:
    """Longitude and latitude, as RFC 7946 has it; the raster's or pixel coordinates where it has no CRS.

    Features are written as they are found, so that millions of them do not have to be held.
    """
    crs = None if place is None else place.crs

    def write(file: Any) -> None:
        file.write(b'{"type": "FeatureCollection", "features": [')
        separator = b"\n"
        for block in areas(planes, place, smallest):
            geometries = [area.geometry for area in block]
            if crs is not None and geometries:
                geometries = geo().warp.transform_geom(crs, WGS84, geometries, precision=DIGITS)
            for area, geometry in zip(block, geometries, strict=True):
                feature = {"type": "Feature", "properties": properties(area, classes), "geometry": wound(geometry)}
                file.write(separator + json.dumps(feature, ensure_ascii=False).encode())
                separator = b",\n"
        file.write(b"\n]}\n")

    write_atomically(path, write)


def wound(geometry: Mapping[str, Any]) -> dict[str, Any]:
    """A polygon or several with outer rings counter-clockwise and holes clockwise, as RFC 7946 wants them."""
    several = geometry["type"] == "MultiPolygon"
    polygons = [
        [ring if _is_counter_clockwise(ring) == (number == 0) else ring[::-1] for number, ring in enumerate(rings)]
        for rings in (geometry["coordinates"] if several else [geometry["coordinates"]])
    ]
    return {"type": geometry["type"], "coordinates": polygons if several else polygons[0]}


def _is_counter_clockwise(ring: Sequence[Sequence[float]]) -> bool:
    """By the sum under its edges, from its first point: far from the origin the products would drown the area."""
    y0 = ring[0][1]
    return sum((b[0] - a[0]) * (a[1] + b[1] - 2 * y0) for a, b in pairwise(ring)) < 0


def properties(area: Area, classes: ClassMap) -> dict[str, Any]:
    red, green, blue = classes.colors[area.class_id]
    return {
        "class_id": area.class_id,
        "class": classes.names[area.class_id],
        "color": f"#{red:02x}{green:02x}{blue:02x}",
    }


def has_geopackage() -> bool:
    """Whether GeoPackages can be written."""
    try:
        import pyogrio  # noqa: F401
        import shapely  # noqa: F401
    except ImportError:
        return False
    return True


def write_geopackage(path: Path, planes: Planes, place: Place, classes: ClassMap, smallest: int) -> None:
    """The same polygons in the raster's own CRS, which it must have."""
    import pyogrio.raw
    import shapely

    aside = path.with_name(f"unfinished-{path.name}")
    aside.parent.mkdir(parents=True, exist_ok=True)
    aside.unlink(missing_ok=True)
    for block in areas(planes, place, smallest):
        rows = [properties(area, classes) for area in block]
        pyogrio.raw.write(
            aside,
            geometry=np.array([shapely.to_wkb(shapely.geometry.shape(a.geometry)) for a in block], dtype=object),
            field_data=[np.array([row[name] for row in rows], dtype=kind) for name, kind in FIELDS.items()],
            fields=np.array(list(FIELDS)),
            layer="classes",
            driver="GPKG",
            geometry_type="Polygon",
            crs=place.crs.to_wkt(),
            append=aside.exists(),
        )
    aside.replace(path)


FIELDS: dict[str, Any] = {"class_id": np.int32, "class": object, "color": object}
