"""`semiseg patchify` from base images to patches, to a training, and back."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from semiseg.data.build import build_data
from semiseg.data.classes import read_class_mapping
from semiseg.data.config import DataConfig
from semiseg.data.layouts.salak import SalakLayout
from semiseg.data.masks import read_image, read_mask
from semiseg.patchify.grid import Spot


def bundle_of(root: Path, **settings):
    return build_data(DataConfig(root=str(root), layout=SalakLayout(), cache_dir=str(root / "cache"), **settings))


def test_patches_are_windows_of_their_image_in_the_layout_that_trains(patchify, base_images, tmp_path: Path):
    assert patchify(images=tmp_path / "images", masks=tmp_path / "masks", size=64, overlap=16) == 0
    bundle = bundle_of(tmp_path / "out", split_by="patch")
    assert bundle.index.sources == ["a", "f_b"] and bundle.classes.names == ("soil", "palm", "road")
    assert len(bundle.index) == 2 * 3 + 1 and bundle.index.has_mask.all()
    assert len(bundle.pools.train) + len(bundle.pools.val) == 7
    for patch in range(len(bundle.index)):
        path, mask_path = bundle.index.image_path(patch), bundle.index.mask_path(patch)
        spot = Spot.of(path.stem)
        assert spot is not None and mask_path is not None
        image, mask = base_images[spot.source.replace("f_", "f/")]
        window = np.s_[spot.top : spot.top + 64, spot.left : spot.left + 64]
        np.testing.assert_array_equal(read_image(path), image[window])
        np.testing.assert_array_equal(read_mask(mask_path, bundle.classes), mask[window])


def test_masks_in_a_folder_of_the_images_are_no_images(patchify, base_images, tmp_path: Path):
    inside = (tmp_path / "masks").rename(tmp_path / "images" / "masks")
    assert patchify(images=tmp_path / "images", masks=inside, size=64) == 0
    index = bundle_of(tmp_path / "out", split_by="patch").index
    assert index.sources == ["a", "f_b"] and index.has_mask.all()


def test_too_little_truth_leaves_a_patch_unlabelled(patchify, base_images, tmp_path: Path):
    (tmp_path / "masks" / "a.png").unlink()
    assert patchify(images=tmp_path / "images", masks=tmp_path / "masks", size=32, min_labeled=0.9) == 0
    folder = tmp_path / "out" / "patches-1"
    masked = {path.stem for path in (folder / "masks").iterdir()}
    assert masked == {"f_b_patch_00032_00032"}  # the others of b hold pixels of its ignored corner
    assert len(list((folder / "images").iterdir())) == 4 * 5 + 4


def test_predicted_patches_go_back_to_their_places(patchify, base_images, tmp_path: Path):
    """Masks stand for predictions: cut with an overlap and put together, they are the masks they were."""
    assert patchify(images=tmp_path / "images", masks=tmp_path / "masks", size=48, stride=20) == 0
    parts = tmp_path / "out" / "patches-1" / "masks"
    assert patchify(assemble=parts, patches=tmp_path / "out", out=tmp_path / "maps") == 0
    classes = read_class_mapping(tmp_path / "classes.csv")
    for name, (_, mask) in base_images.items():
        whole = read_mask(tmp_path / "maps" / f"{name.replace('/', '_')}.png", classes)
        np.testing.assert_array_equal(whole, mask)
    assert sorted(path.name for path in (tmp_path / "maps").iterdir()) == ["a.png", "f_b.png"]


class TestRasters:
    @pytest.fixture(autouse=True)
    def _needs(self):
        for library in ("rasterio", "pyogrio", "shapely"):
            pytest.importorskip(library)

    def write(self, path: Path, **profile) -> np.ndarray:
        import rasterio

        rng = np.random.default_rng(1)
        image = rng.integers(1, 256, (96, 128, 3), dtype=np.uint8)
        path.parent.mkdir(parents=True, exist_ok=True)
        settings = {"driver": "GTiff", "height": 96, "width": 128, "count": 3, "dtype": "uint8", "nodata": 0}
        place = {"crs": "EPSG:32749", "transform": rasterio.Affine(0.5, 0, 430_000, 0, -0.5, 9_160_000)}
        image[:32, :32] = 0
        with rasterio.open(path, "w", **(settings | place | profile)) as raster:
            raster.write(np.moveaxis(image, -1, 0))
        return image

    def polygons(self, path: Path, crs: str = "EPSG:32749", names: tuple[str, ...] = ("soil", "road")) -> None:
        """The first class over rows 32 to 64, the second over columns 64 to 128 of them, drawn later."""
        import pyogrio
        import rasterio.warp
        import shapely

        boxes = [(430_000, 9_159_968, 430_064, 9_159_984), (430_032, 9_159_968, 430_064, 9_159_984)]
        rings = [[(x0, y0), (x1, y0), (x1, y1), (x0, y1)] for x0, y0, x1, y1 in boxes]
        if crs != "EPSG:32749":
            rings = [
                list(zip(*rasterio.warp.transform("EPSG:32749", crs, *zip(*r, strict=True)), strict=True))
                for r in rings
            ]
        wkb = np.array([shapely.to_wkb(shapely.Polygon(ring)) for ring in rings], dtype=object)
        pyogrio.raw.write(
            path, geometry=wkb, field_data=[np.array(names, dtype=object)], fields=np.array(["class"]),
            geometry_type="Polygon", crs=crs,
        )  # fmt: skip

    @pytest.mark.parametrize(
        ("name", "crs"), [("a.geojson", "EPSG:4326"), ("a.shp", "EPSG:32749"), ("a.gpkg", "EPSG:32750")]
    )
    def test_polygons_become_masks(self, patchify, tmp_path: Path, name: str, crs: str):
        image = self.write(tmp_path / "flight.tif")
        self.polygons(tmp_path / name, crs)
        assert patchify(images=tmp_path / "flight.tif", polygons=tmp_path / name, size=32) == 0
        folder = tmp_path / "out" / "patches-1"
        names = {path.stem for path in (folder / "images").iterdir()}
        assert len(names) == 3 * 4 - 1 and "flight_patch_00000_00000" not in names  # nothing but a hole
        assert {p.stem for p in (folder / "masks").iterdir()} == {
            f"flight_patch_00032_{x:05d}" for x in (0, 32, 64, 96)
        }
        classes = read_class_mapping(tmp_path / "out" / "class_mapping.csv")
        assert (read_mask(folder / "masks" / "flight_patch_00032_00032.png", classes) == 0).all()
        assert (read_mask(folder / "masks" / "flight_patch_00032_00064.png", classes) == 2).all()
        np.testing.assert_array_equal(read_image(folder / "images" / "flight_patch_00064_00096.png"), image[64:, 96:])

    def test_a_polygon_from_pole_to_pole_is_cut_to_the_raster(self, patchify, tmp_path: Path):
        """The poles have no place in a zone of UTM."""
        half = {"type": "Polygon", "coordinates": [[[100, -90], [130, -90], [130, 90], [100, 90], [100, -90]]]}
        feature = {"type": "Feature", "properties": {"class": "road"}, "geometry": half}
        (tmp_path / "a.geojson").write_text(json.dumps(feature), encoding="utf-8")
        self.write(tmp_path / "flight.tif")
        assert patchify(images=tmp_path / "flight.tif", polygons=tmp_path / "a.geojson", size=32) == 0
        masks = sorted((tmp_path / "out" / "patches-1" / "masks").iterdir())
        classes = read_class_mapping(tmp_path / "out" / "class_mapping.csv")
        assert len(masks) == 3 * 4 - 1 and all((read_mask(mask, classes) == 2).all() for mask in masks)

    def test_what_no_polygon_covers_may_have_a_class(self, patchify, tmp_path: Path):
        self.write(tmp_path / "flight.tif")
        self.polygons(tmp_path / "a.geojson", "EPSG:4326")
        settings = {
            "images": tmp_path / "flight.tif",
            "polygons": tmp_path / "a.geojson",
            "size": 48,
            "outside": "palm",
        }
        assert patchify(**settings) == 0
        classes = read_class_mapping(tmp_path / "out" / "class_mapping.csv")
        mask = read_mask(tmp_path / "out" / "patches-1" / "masks" / "flight_patch_00000_00000.png", classes)
        assert (mask[:32, :32] == 255).all() and (mask[:32, 32:] == 1).all() and (mask[32:] == 0).all()

    def test_a_map_put_together_keeps_its_place(self, patchify, tmp_path: Path):
        import rasterio

        self.write(tmp_path / "flight.tif")
        self.polygons(tmp_path / "a.geojson", "EPSG:4326")
        assert patchify(images=tmp_path / "flight.tif", polygons=tmp_path / "a.geojson", size=32) == 0
        parts = tmp_path / "out" / "patches-1" / "masks"
        assert patchify(assemble=parts, patches=tmp_path / "out", out=tmp_path / "maps") == 0
        with rasterio.open(tmp_path / "maps" / "flight.tif") as raster, rasterio.open(tmp_path / "flight.tif") as base:
            assert raster.crs == base.crs and raster.transform == base.transform
            ids = raster.read(1)
        assert (ids[32:64, :64] == 0).all() and (ids[32:64, 64:] == 2).all() and (ids[64:] == 255).all()

    def test_only_polygons_are_drawn_and_the_rest_is_named(self, patchify, tmp_path: Path, capsys):
        self.write(tmp_path / "flight.tif")
        self.polygons(tmp_path / "a.geojson", "EPSG:4326")
        stored = json.loads((tmp_path / "a.geojson").read_text(encoding="utf-8"))
        (west, south), (east, north) = stored["features"][0]["geometry"]["coordinates"][0][:3:2]
        lines = [
            {"type": "LineString", "coordinates": [[west, south - 1e-4], [east, north + 1e-4]]},
            {"type": "Point", "coordinates": [west, north + 5e-5]},
        ]
        for geometry in lines:
            feature = {"type": "Feature", "properties": {"class": "palm"}, "geometry": geometry}
            stored["features"].append(feature)
        (tmp_path / "more.geojson").write_text(json.dumps(stored), encoding="utf-8")
        for name in ("a", "more"):
            given = {"images": tmp_path / "flight.tif", "polygons": tmp_path / f"{name}.geojson", "size": 32}
            assert patchify(**given, out=tmp_path / name) == 0
        assert "1 LineString, 1 Point of 4 features are no polygons" in capsys.readouterr().out
        plain, more = (
            {path.name: path.read_bytes() for path in (tmp_path / name / "patches-1" / "masks").iterdir()}
            for name in ("a", "more")
        )
        assert plain == more
        stored["features"] = stored["features"][2:]
        (tmp_path / "none.geojson").write_text(json.dumps(stored), encoding="utf-8")
        assert patchify(images=tmp_path / "flight.tif", polygons=tmp_path / "none.geojson") == 1
        assert "holds no polygons but 1 LineString, 1 Point" in capsys.readouterr().err

    def test_a_raster_with_a_corrupt_block_leaves_no_patch(self, patchify, tmp_path: Path, capsys):
        import rasterio

        tiles = {"tiled": True, "blockxsize": 32, "blockysize": 32, "compress": "deflate"}
        self.write(tmp_path / "in" / "good.tif")
        self.write(tmp_path / "in" / "bad.tif", **tiles)
        with rasterio.open(tmp_path / "in" / "bad.tif") as raster:
            offset = int(raster.get_tag_item("BLOCK_OFFSET_2_2", "TIFF", bidx=1))
        data = (tmp_path / "in" / "bad.tif").read_bytes()
        (tmp_path / "in" / "bad.tif").write_bytes(data[:offset] + b"\xff" * 300 + data[offset + 300 :])
        assert patchify(images=tmp_path / "in", size=32) == 1
        assert "no patch of it is kept" in capsys.readouterr().out
        left = {Spot.of(path.stem) for path in (tmp_path / "out").rglob("*.png")}
        assert {spot.source for spot in left if spot is not None} == {"good"}
        stored = json.loads((tmp_path / "out" / "sources.json").read_text(encoding="utf-8"))
        assert [image["source"] for image in stored["sources"]] == ["good"]

    def test_a_raster_too_dark_is_warned_of(self, patchify, tmp_path: Path, capsys):
        import rasterio

        place = {"crs": "EPSG:32749", "transform": rasterio.Affine(0.5, 0, 430_000, 0, -0.5, 9_160_000)}
        with rasterio.open(
            tmp_path / "a.tif", "w", driver="GTiff", height=64, width=64, count=3, dtype="uint16", **place
        ) as raster:
            raster.write(np.full((3, 64, 64), 4000, np.uint16))
        assert patchify(images=tmp_path / "a.tif", size=32) == 0
        assert "stretch=[0,4095]" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"class_column": "kind"}, "has no column 'kind'"),
            ({"outside": "sea"}, "outside=sea is no class"),
            ({"polygons": "nowhere.shp"}, "polygons=nowhere.shp does not exist"),
        ],
    )
    def test_wrong_polygons_are_one_clear_line(self, patchify, tmp_path: Path, capsys, settings, message):
        self.write(tmp_path / "flight.tif")
        self.polygons(tmp_path / "a.geojson", "EPSG:4326")
        given = {"images": tmp_path / "flight.tif", "polygons": tmp_path / "a.geojson"}
        assert patchify(**(given | settings)) == 1
        err = capsys.readouterr().err
        assert message in err and err.count("\n") == 1

    def test_classes_and_images_that_do_not_fit(self, patchify, tmp_path: Path, capsys):
        self.polygons(tmp_path / "a.geojson", "EPSG:4326", ("soil", "raod"))
        self.write(tmp_path / "flight.tif")
        assert patchify(images=tmp_path / "flight.tif", polygons=tmp_path / "a.geojson") == 1
        assert "the class 'raod', which the mapping has not. Did you mean road" in capsys.readouterr().err
        self.polygons(tmp_path / "b.geojson", "EPSG:4326")
        cv2.imwrite(str(tmp_path / "photo.png"), np.zeros((64, 64, 3), np.uint8))
        assert patchify(images=tmp_path / "photo.png", polygons=tmp_path / "b.geojson") == 1
        assert "photo.png has no CRS" in capsys.readouterr().out


def test_what_was_interrupted_is_not_mixed_with_another_cut(patchify, base_images, tmp_path: Path, capsys, monkeypatch):
    """Ctrl-C in the second image: the first is whole, nothing is left of the second, and the folder is taken."""
    from semiseg.patchify.cut import Cutter

    original = Cutter._write

    def stopped(self: Cutter, spot: Spot, *rest):
        if spot.source == "f_b" and spot.top:
            raise KeyboardInterrupt
        return original(self, spot, *rest)

    monkeypatch.setattr(Cutter, "_write", stopped)
    given = {"images": tmp_path / "images", "masks": tmp_path / "masks"}
    assert patchify(**given, size=32) == 130
    left = [Spot.of(path.stem) for path in (tmp_path / "out").rglob("*.png")]
    assert left and {spot.source for spot in left if spot is not None} == {"a"}
    stored = json.loads((tmp_path / "out" / "sources.json").read_text(encoding="utf-8"))
    assert stored["cut"]["size"] == 32 and [image["source"] for image in stored["sources"]] == ["a"]
    monkeypatch.undo()
    before = len(left)
    assert patchify(**given, size=64) == 1
    assert "holds patches already" in capsys.readouterr().err
    (tmp_path / "out" / "sources.json").unlink()  # as a killed call of old left it
    assert patchify(**given, size=64) == 1
    assert len(list((tmp_path / "out").rglob("*.png"))) == before


def test_a_bad_image_is_named_and_the_rest_is_cut(patchify, base_images, tmp_path: Path, capsys):
    (tmp_path / "images" / "bad.jpg").write_bytes(b"broken")
    cv2.imwrite(str(tmp_path / "masks" / "f" / "b.png"), np.zeros((10, 10), np.uint8))
    assert patchify(images=tmp_path / "images", masks=tmp_path / "masks", size=64) == 1
    out, err = capsys.readouterr()
    assert "bad.jpg" in out and "10x10" in out and err.count("\n") == 1 and "2 base images could not be cut" in err
    stored = json.loads((tmp_path / "out" / "sources.json").read_text(encoding="utf-8"))
    assert [image["source"] for image in stored["sources"]] == ["a"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"images": "nowhere"}, "nowhere does not exist"),
        ({"images": None}, "Give images=PATH to cut, or assemble=PATH"),
        ({"size": 8}, "size is 8"),
        ({"overlap": 256}, "overlap is 256"),
        ({"stride": 300}, "stride=300"),
        ({"min_labeled": 2}, "min_labeled is 2"),
        ({"class_mapping": None}, "class_mapping is not given"),
        ({"out": None}, "out is not given"),
        ({"polygons": "a.shp"}, "masks= and polygons= are both given"),
        ({"assemble": "here", "images": None}, "assemble= needs patches=PATH"),
        ({"assemble": "here", "images": None, "patches": "none"}, "sources.json does not exist"),
    ],
)
def test_wrong_settings_are_one_clear_line(patchify, base_images, tmp_path: Path, capsys, settings, message):
    assert patchify(**({"images": tmp_path / "images", "masks": tmp_path / "masks"} | settings)) == 1
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1


def test_folders_that_do_not_fit_are_one_clear_line(patchify, base_images, tmp_path: Path, capsys):
    cv2.imwrite(str(tmp_path / "masks" / "c.png"), np.zeros((64, 64), np.uint8))
    assert patchify(images=tmp_path / "images", masks=tmp_path / "masks") == 1
    assert "c.png is a mask without an image" in capsys.readouterr().err
    assert patchify(images=tmp_path / "images") == 0
    assert patchify(images=tmp_path / "images") == 1
    assert "holds patches already" in capsys.readouterr().err


def test_what_is_cut_trains_predicts_and_goes_back(patchify, base_images, tmp_path: Path, monkeypatch):
    """From base images to a run, to predicted patches, to maps of the base images."""
    from semiseg.cli import run_verb

    assert patchify(images=tmp_path / "images", masks=tmp_path / "masks", size=64, overlap=20) == 0
    root, runs = (tmp_path / "out").as_posix(), (tmp_path / "runs").as_posix()
    data = ["data=salak", f"data.root={root}"]
    settings = [
        "model=lightweight", "model.encoder_weights=null", "aug=basic", f"output={runs}", "name=first", "tracking=none",
        "data.split_by=patch", "data.class_thresholds=null", "data.exclude_from_miou=[]", "trainer.max_epochs=null",
        "trainer.max_steps=1", "trainer.eval_every=1", "trainer.crop_size=64", "trainer.batch_size=2",
        "trainer.device=cpu",
    ]  # fmt: skip
    assert run_verb("train", [*data, *settings]) == 0
    predicted = tmp_path / "predicted"
    run = f"run={runs}/semiseg/first"
    assert run_verb("predict", [run, f"out={predicted.as_posix()}", "split=all", "device=cpu", f"output={runs}"]) == 0
    assert patchify(assemble=predicted / "classes", patches=tmp_path / "out", out=tmp_path / "maps") == 0
    for name, (_, mask) in base_images.items():
        whole = cv2.imread(str(tmp_path / "maps" / f"{name.replace('/', '_')}.png"))
        assert whole is not None and whole.shape[:2] == mask.shape
        colors = {tuple(color) for color in whole[..., ::-1].reshape(-1, 3).tolist()}
        assert colors <= {(120, 80, 40), (20, 160, 20), (90, 90, 90)}


def test_the_last_line_says_what_the_patches_are_for(patchify, base_images, tmp_path: Path, capsys):
    assert patchify(images=tmp_path / "images", size=64) == 0
    said = capsys.readouterr().out
    data = f"data=salak data.root={tmp_path / 'out'}"
    assert f"semiseg predict run=RUN {data} split=all out=PATH" in said and "Train" not in said
    assert patchify(images=tmp_path / "images", masks=tmp_path / "masks", size=64, out=tmp_path / "more") == 0
    said = capsys.readouterr().out
    assert "Train on it with: semiseg train data=salak" in said
    assert said.rstrip().endswith(
        ' "data.exclude_from_miou=[]" pseudo_label.class_thresholds=null'
    )  # not Salak's classes
