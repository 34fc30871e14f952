"""Areas of one class as polygons: GeoJSON, and for a raster with a CRS GeoPackage, where pyogrio is installed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from semiseg.contracts import IGNORE_INDEX
from semiseg.data.classes import ClassMap
from semiseg.files import move_over, write_atomically
from semiseg.prediction.place import Place, gdal_errors, geo
from semiseg.prediction.planes import CLASSES, Planes

BLOCK = 4096  # pixels a side: polygons are cut at its edges, so that a raster of any size takes the same memory
WGS84 = "EPSG:4326"
DIGITS = 8  # of a degree: a millimetre
HALF_TURN = 180.0  # degrees of longitude: polygons that span more may lie across the antimeridian


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
            size = min(smallest, block.size - 1)  # larger ones GDAL does not take
            if size > 1 and seen.any():
                block = features.sieve(block, size, mask=seen)
            found = features.shapes(block, mask=seen, transform=place.window_transform(left, top))
            yield [Area(geometry, int(class_id)) for geometry, class_id in found]


def write_polygons(
    path: Path, geopackage: Path | None, planes: Planes, place: Place | None, classes: ClassMap, smallest: int
) -> None:
    """GeoJSON, and the same polygons as a GeoPackage in the raster's own CRS where it has one.

    GeoJSON is in longitude and latitude, as RFC 7946 has it; in the raster's or pixel coordinates without a CRS.
    Features are written as they are found, so that millions of them do not have to be held.
    """
    crs = None if place is None else place.crs
    aside = None if geopackage is None else geopackage.with_name(f"unfinished-{geopackage.name}")
    if aside is not None:
        aside.parent.mkdir(parents=True, exist_ok=True)
        aside.unlink(missing_ok=True)

    def write(file: Any) -> None:
        file.write(b'{"type": "FeatureCollection", "features": [')
        separator = b"\n"
        for block in areas(planes, place, smallest):
            if aside is not None:
                append_to_geopackage(aside, block, crs, classes)
            geometries = [area.geometry for area in block]
            placed = in_degrees(crs, geometries) if crs is not None and geometries else geometries
            for area, geometry in zip(block, placed, strict=True):
                if geometry is None:
                    continue
                feature = {"type": "Feature", "properties": properties(area, classes), "geometry": wound(geometry)}
                file.write(separator + json.dumps(feature, ensure_ascii=False).encode())
                separator = b",\n"
        file.write(b"\n]}\n")

    write_atomically(path, write)
    if aside is not None and geopackage is not None:
        move_over(aside, geopackage)


def in_degrees(crs: Any, geometries: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any] | None]:
    """Polygons in longitude and latitude, to DIGITS, one after the other: lists of all points would fill the memory.

    None for one that is not wholly on Earth, as at the corners of a map of the world. All points at once are ten times
    as fast as polygon by polygon, which is left to blocks that may have to be cut at the antimeridian, and to those of
    which a corner is nowhere on Earth.
    """
    warp = geo().warp
    points, starts, polygons = flattened(geometries)
    try:
        degrees = np.stack(warp.transform(crs, WGS84, points[:, 0], points[:, 1])[:2], axis=1)
    except gdal_errors():
        degrees = np.full((1, 2), np.nan)
    if not np.isfinite(degrees).all() or np.ptp(degrees[:, 0]) > HALF_TURN:
        yield from (_in_degrees_or_none(crs, geometry) for geometry in geometries)
        return
    degrees = degrees.round(DIGITS)
    for first, last in pairwise(polygons):
        rings = [degrees[start:end].tolist() for start, end in pairwise(starts[first : last + 1])]
        yield {"type": "Polygon", "coordinates": rings}


def _in_degrees_or_none(crs: Any, geometry: dict[str, Any]) -> dict[str, Any] | None:
    try:
        return geo().warp.transform_geom(crs, WGS84, geometry, precision=DIGITS)
    except gdal_errors():
        return None


def flattened(geometries: Sequence[dict[str, Any]]) -> tuple[NDArray[np.float64], list[int], list[int]]:
    """Points [n, 2] of all rings of polygons, where each ring starts in them, and each polygon among the rings; both
    end with their total."""
    rings = [ring for geometry in geometries for ring in geometry["coordinates"]]
    points = np.array([point for ring in rings for point in ring], dtype=np.float64)
    starts = [0, *accumulate(len(ring) for ring in rings)]
    return points, starts, [0, *accumulate(len(geometry["coordinates"]) for geometry in geometries)]


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


def append_to_geopackage(path: Path, block: Sequence[Area], crs: Any, classes: ClassMap) -> None:
    """The polygons of a block, to the file where there is one already."""
    import pyogrio.raw
    import shapely

    points, rings, polygons = flattened([area.geometry for area in block])
    kind = shapely.GeometryType.POLYGON
    shapes = shapely.from_ragged_array(kind, points, (np.array(rings), np.array(polygons))) if block else []
    rows = [properties(area, classes) for area in block]
    pyogrio.raw.write(
        path,
        geometry=np.array(shapely.to_wkb(shapes), dtype=object),
        field_data=[np.array([row[name] for row in rows], dtype=kind) for name, kind in FIELDS.items()],
        fields=np.array(list(FIELDS)),
        layer="classes",
        driver="GPKG",
        geometry_type="Polygon",
        crs=crs.to_wkt(),
        append=path.exists(),
    )


FIELDS: dict[str, Any] = {"class_id": np.int32, "class": object, "color": object}
