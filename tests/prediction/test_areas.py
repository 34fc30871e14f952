from __future__ import annotations

import csv
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from semiseg.data.classes import ClassMap
from semiseg.errors import SemisegError
from semiseg.prediction.areas import count_classes, measure, write_areas
from semiseg.prediction.outputs import overview_factors, write_raster
from semiseg.prediction.place import Place
from semiseg.prediction.planes import CLASSES, Held
from semiseg.prediction.polygons import in_degrees, write_polygons
from semiseg.prediction.record import Entry

rasterio = pytest.importorskip("rasterio", reason="rasterio is not installed")
MAPPING = ClassMap(("soil", "palm"), ((120, 80, 40), (20, 160, 20)))


def place(crs: str | None, *transform: float) -> Place:
    return Place(None if crs is None else rasterio.crs.CRS.from_user_input(crs), rasterio.Affine(*transform))


def planes_of(classes: np.ndarray) -> Held:
    planes = Held(*classes.shape)
    planes.write(0, np.stack([classes, np.full_like(classes, 80)]))
    return planes


def test_a_projected_raster_is_measured_in_its_plane():
    scale = measure(place("EPSG:32749", 0.3, 0.4, 430_000, 0.4, -0.3, 9_160_000), 100, 100)
    assert scale is not None and scale.method == "plane of EPSG:32749"
    assert scale.hectares(50, 51)[0] == pytest.approx(0.25 / 1e4)  # rotated: not 0.3 times 0.3
    feet = measure(place("EPSG:2263", 1, 0, 1_000_000, 0, -1, 200_000), 100, 100)
    assert feet is not None and feet.hectares(0, 1)[0] == pytest.approx(0.3048006**2 / 1e4, rel=1e-5)


@pytest.mark.parametrize("latitude", [0.0, -7.6, 45.0, 60.0])
def test_degrees_are_measured_on_the_ellipsoid(latitude: float):
    """Against the radii of curvature of WGS 84."""
    side = 1e-5
    scale = measure(place("EPSG:4326", side, 0, 110.0, 0, -side, latitude + 50 * side), 100, 100)
    a, e2, phi = 6_378_137.0, 0.00669437999014, math.radians(latitude)
    root = 1 - e2 * math.sin(phi) ** 2
    east, north = a / math.sqrt(root) * math.cos(phi), a * (1 - e2) / root**1.5
    assert scale is not None and scale.method == "WGS 84 ellipsoid"
    assert scale.hectares(50, 51)[0] == pytest.approx(math.radians(side) ** 2 * east * north / 1e4, rel=1e-5)


def zone(south: np.ndarray, north: np.ndarray) -> np.ndarray:
    """Hectares of the WGS 84 ellipsoid between two latitudes in degrees, all round, in closed form."""
    b, e = 6_356_752.314245, 0.0818191908426

    def from_equator(latitude: np.ndarray) -> np.ndarray:
        z = e * np.sin(np.radians(latitude))
        return np.pi * b**2 * (np.arctanh(z) / e + z / e / (1 - z**2))

    return (from_equator(north) - from_equator(south)) / 1e4


@pytest.mark.parametrize("transform", [(1, 0, -180, 0, -1, 90), (1, 0, 0, 0, -1, 90.5), (90, 0, -180, 0, -45, 90)])
def test_a_map_of_the_world_has_its_area_class_by_class(transform: tuple[float, ...]):
    """Also one of longitudes up to 360, and one whose first and last row reach past the poles."""
    height, width = math.ceil((90 + transform[5]) / -transform[4]), round(360 / transform[0])
    classes = np.random.default_rng(0).integers(0, 2, (height, width), dtype=np.uint8)
    edges = (transform[5] + transform[4] * np.arange(height + 1)).clip(-90, 90)
    rows = zone(edges[1:], edges[:-1]) / width
    _, hectares = count_classes(planes_of(classes), 2, measure(place("EPSG:4326", *transform), height, width))
    assert hectares == pytest.approx([(classes == 0).sum(1) @ rows, (classes == 1).sum(1) @ rows], rel=1e-6)
    assert hectares is not None and sum(hectares) == pytest.approx(5.10065622e10, rel=1e-6)


def test_each_row_in_degrees_has_its_own_area():
    """1,500 rows from 85 degrees north, the classes in bands of rows; more pixels than are counted at once."""
    height, width, side = 1500, 6000, 0.01
    classes = np.repeat((np.arange(height)[:, None] // 50 % 2).astype(np.uint8), width, axis=1)
    edges = 85 - side * np.arange(height + 1)
    rows = zone(edges[1:], edges[:-1]) * side / 360
    scale = measure(place("EPSG:4326", side, 0, 20, 0, -side, 85), height, width)
    pixels, hectares = count_classes(planes_of(classes), 2, scale)
    assert pixels == [width * height // 2, width * height // 2, 0]
    exact = [(rows * (classes[:, 0] == number)).sum() * width for number in range(2)]
    assert hectares == pytest.approx(exact, rel=1e-6)


def test_what_lies_off_earth_is_no_land():
    """The middle column of a raster in Mollweide's projection, which begins above the pole."""
    scale = measure(place("ESRI:54009", 100_000, 0, -50_000, 0, -200_000, 10_000_000), 100, 1)
    assert scale is not None and scale.hectares(50, 51)[0] == pytest.approx(2e10 / 1e4, rel=0.01)


def test_web_mercator_is_not_measured_in_its_plane():
    """At 60 degrees it shows every area four times too large."""
    y = 6_378_137 * math.log(math.tan(math.pi / 4 + math.radians(60) / 2))
    scale = measure(place("EPSG:3857", 1, 0, 0, 0, -1, y), 10, 10)
    assert scale is not None and scale.method == "WGS 84 ellipsoid"
    assert scale.hectares(5, 6)[0] == pytest.approx(0.25 / 1e4, rel=0.01)


def test_without_a_crs_there_are_no_hectares():
    assert measure(None, 10, 10) is None and measure(place(None, 1, 0, 0, 0, -1, 0), 10, 10) is None


def test_classes_are_counted_and_holes_are_not_land(tmp_path: Path):
    classes = np.random.default_rng(0).integers(0, 2, (1100, 30), dtype=np.uint8)
    classes[:100] = 255
    scale = measure(place("EPSG:32749", 10, 0, 430_000, 0, -10, 9_160_000), *classes.shape)
    pixels, hectares = count_classes(planes_of(classes), 2, scale)
    assert pixels == [(classes == 0).sum(), (classes == 1).sum(), 3000] and hectares is not None
    assert hectares == pytest.approx([pixels[0] * 0.01, pixels[1] * 0.01])
    entry = Entry("flight", 1100, 30, pixels, hectares, "plane")
    write_areas(tmp_path / "areas.csv", lambda: [entry, entry], MAPPING)
    with (tmp_path / "areas.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == ["(all)", "(all)", "flight", "flight", "flight", "flight"]
    assert int(rows[0]["pixels"]) == 2 * pixels[0] and float(rows[1]["share"]) == pytest.approx(
        pixels[1] / 30_000, abs=1e-6
    )
    assert float(rows[0]["hectares"]) == pytest.approx(2 * hectares[0], rel=1e-5)


def test_the_whole_sums_what_is_measured_and_says_what_is_not(tmp_path: Path):
    entries = [
        Entry("a", 2, 2, [1, 3, 0], [1.0, 3.0], "plane of EPSG:32749"),
        Entry("b", 2, 2, [4, 0, 0]),
        Entry("c", 2, 2, [0, 0, 4], [0.0, 0.0], "plane of EPSG:32749"),
    ]
    write_areas(tmp_path / "areas.csv", lambda: entries, MAPPING)
    with (tmp_path / "areas.csv").open(encoding="utf-8", newline="") as file:
        rows = [tuple(row.values()) for row in csv.DictReader(file)]
    said = "plane of EPSG:32749; without 1 of 3 images (no CRS)"
    assert rows == [
        ("(all)", "soil", "5", "0.625000", "1", said),
        ("(all)", "palm", "3", "0.375000", "3", said),
        ("a", "soil", "1", "0.250000", "1", "plane of EPSG:32749"),
        ("a", "palm", "3", "0.750000", "3", "plane of EPSG:32749"),
        ("b", "soil", "4", "1.000000", "", "pixels"),
        ("c", "(no data)", "4", "", "", "plane of EPSG:32749"),
    ]


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:32749", (0.5, 0, 430_000, 0, -0.5, 9_160_000)),
        ("EPSG:32749", (0.5, 0, 430_000, 0, 0.5, 9_160_000)),
        (None, (1, 0, 0, 0, 1, 0)),
    ],
)
def test_outer_rings_turn_left_and_holes_right(tmp_path: Path, crs: str | None, transform: tuple[float, ...]):
    """As RFC 7946 wants them, whichever way the rows run."""
    classes = np.zeros((60, 70), dtype=np.uint8)
    classes[10:30, 10:40] = 1
    write_polygons(tmp_path / "a.geojson", None, planes_of(classes), place(crs, *transform), MAPPING, 0)
    found = json.loads((tmp_path / "a.geojson").read_text(encoding="utf-8"))["features"]
    assert sorted(len(feature["geometry"]["coordinates"]) for feature in found) == [1, 2]
    for feature in found:
        for number, ring in enumerate(feature["geometry"]["coordinates"]):
            x, y = (np.array(ring) - ring[0]).T
            assert (x[:-1] @ y[1:] - x[1:] @ y[:-1] > 0) == (number == 0)


@pytest.mark.parametrize("east", [430_000.0, 816_000.0])
def test_polygons_in_degrees_are_those_that_are_carried_over_one_by_one(east: float):
    """All points at once give what GDAL makes of each polygon, also where it cuts them at the antimeridian."""
    crs = rasterio.CRS.from_epsg(32760)
    ring = [(east + x, 8_000_000.0 + y) for x, y in ((0, 0), (3000, 0), (3000, 900), (0, 900), (0, 0))]
    hole = [(east + x, 8_000_000.0 + y) for x, y in ((200, 200), (200, 400), (400, 400), (400, 200), (200, 200))]
    squares = [[(x + 5000 * n, y) for x, y in ring] for n in range(3)]
    polygons = [{"type": "Polygon", "coordinates": [square]} for square in squares]
    polygons[0]["coordinates"].append(hole)
    found = list(in_degrees(crs, polygons))
    expected = rasterio.warp.transform_geom(crs, "EPSG:4326", polygons, precision=8)
    assert [polygon["type"] for polygon in found] == [polygon["type"] for polygon in expected]
    for ours, theirs in zip(found, expected, strict=True):
        parts = zip(flat(ours["coordinates"]), flat(theirs["coordinates"]), strict=True)
        assert max(abs(a - b) for a, b in parts) < 1.5e-8  # the last digit may be rounded the other way
    kinds = {polygon["type"] for polygon in found}
    assert kinds == ({"Polygon"} if east < 500_000 else {"Polygon", "MultiPolygon"})


def flat(nested: Any) -> list[float]:
    """The numbers in lists of lists."""
    return [number for part in nested for number in flat(part)] if isinstance(nested, list | tuple) else [nested]


def test_the_corners_of_a_map_of_the_world_are_left_out(tmp_path: Path):
    """Of a Mollweide projection: they lie nowhere on Earth."""
    classes = np.zeros((40, 80), dtype=np.uint8)
    classes[:, 40:] = 1
    classes[:3, :3] = 1
    half = 18_040_095.7
    world = place("ESRI:54009", half / 40, 0, -half, 0, -half / 40, half / 2)
    write_polygons(tmp_path / "a.geojson", tmp_path / "a.gpkg", planes_of(classes), world, MAPPING, 0)
    features = json.loads((tmp_path / "a.geojson").read_text(encoding="utf-8"))["features"]
    assert len(features) < 3 and (tmp_path / "a.gpkg").is_file()


@pytest.mark.parametrize(("smallest", "polygons"), [(50, 4), (100_000, 6)])
def test_blocks_smaller_than_the_smallest_polygon_are_sieved_as_far_as_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, smallest: int, polygons: int
):
    """One of the four blocks has two specks. They join what is larger than the limit; in the second case nothing is."""
    monkeypatch.setattr("semiseg.prediction.polygons.BLOCK", 32)
    classes = np.zeros((36, 33), dtype=np.uint8)
    classes[3, 4] = classes[20, 7] = 1
    write_polygons(tmp_path / "a.geojson", None, planes_of(classes), None, MAPPING, smallest)
    assert len(json.loads((tmp_path / "a.geojson").read_text(encoding="utf-8"))["features"]) == polygons


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such limit")
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.99])
def test_a_raster_that_did_not_fit_on_the_disk_is_none(tmp_path: Path, share: float):
    import resource

    planes = planes_of(np.random.default_rng(0).integers(0, 2, (700, 700), dtype=np.uint8))
    somewhere = place("EPSG:32749", 10, 0, 430_000, 0, -10, 9_160_000)
    write_raster(tmp_path / "whole.tif", planes, CLASSES, somewhere, None)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    room = int(share * (tmp_path / "whole.tif").stat().st_size)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    try:
        with pytest.raises(SemisegError, match=r"a\.tif could not be written whole\. Free space"):
            write_raster(tmp_path / "a.tif", planes, CLASSES, somewhere, None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in tmp_path.iterdir()] == ["whole.tif"]


def test_polygons_are_the_pixels_of_their_class(tmp_path: Path):
    """Cut at the edges of blocks; small ones join their neighbour; holes have none."""
    from semiseg.prediction import polygons

    classes = np.zeros((60, 70), dtype=np.uint8)
    classes[10:30, 10:40] = 1
    classes[50, 60] = 1
    classes[:5] = 255
    where = place(None, 1, 0, 0, 0, 1, 0)
    write_polygons(tmp_path / "all.geojson", None, planes_of(classes), where, MAPPING, 0)
    write_polygons(tmp_path / "large.geojson", None, planes_of(classes), where, MAPPING, 4)
    found = json.loads((tmp_path / "all.geojson").read_text(encoding="utf-8"))["features"]
    assert sorted(f["properties"]["class"] for f in found) == ["palm", "palm", "soil"]
    shapes = [(f["geometry"], f["properties"]["class_id"]) for f in found]
    again = rasterio.features.rasterize(shapes, (60, 70), fill=255, dtype="uint8")
    np.testing.assert_array_equal(again, classes)
    large = json.loads((tmp_path / "large.geojson").read_text(encoding="utf-8"))["features"]
    assert sorted(f["properties"]["class"] for f in large) == ["palm", "soil"]
    blocks = [len(block) for block in polygons.areas(planes_of(classes), None, 0)]
    assert blocks == [3]


def test_a_large_map_has_overviews_and_is_compressed(tmp_path: Path):
    assert overview_factors(256, 200) == [] and overview_factors(50_000, 40_000)[-1] == 256
    classes = np.zeros((1200, 700), dtype=np.uint8)
    classes[:, 300:] = 1
    path = tmp_path / "map.tif"
    write_raster(path, planes_of(classes), CLASSES, place("EPSG:32749", 1, 0, 0, 0, -1, 0), {0: (1, 2, 3, 255)})
    with rasterio.open(path) as raster:
        assert raster.overviews(1) == [2, 4, 8] and raster.profile["compress"] == "deflate" and raster.profile["tiled"]
        np.testing.assert_array_equal(raster.read(1), classes)
        assert set(np.unique(raster.read(1, out_shape=(150, 88)))) == {0, 1}
    assert path.stat().st_size < classes.size // 20
    assert [file.name for file in tmp_path.iterdir()] == ["map.tif"]
