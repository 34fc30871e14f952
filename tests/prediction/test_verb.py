"""`semiseg predict` from the command line to the files."""

from __future__ import annotations

import csv
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from semiseg.cli import main

rasterio = pytest.importorskip("rasterio", reason="rasterio is not installed")
Verb = Callable[..., int]
ALL = "outputs=[classes,confidence,overlay,polygons,areas]"
SMALL = ("tile=64", "overlap=16", "batch=2", "device=cpu")


@pytest.fixture
def predict(trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Verb:
    """Run the verb on tmp_path / "in", writing to tmp_path / "out"; its exit status."""
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")

    def run(*overrides: str) -> int:
        given = {text.partition("=")[0] for text in overrides}
        places = {"run": trained_run, "input": tmp_path / "in", "out": tmp_path / "out"}
        typed = [f"{key}={path.as_posix()}" for key, path in places.items() if key not in given]
        with pytest.raises(SystemExit) as stop:
            main(["predict", *typed, *SMALL, *overrides])
        assert isinstance(stop.value.code, int)
        return stop.value.code

    return run


def write_png(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image[..., ::-1])


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_raster_keeps_its_place(predict: Verb, make_raster, tmp_path: Path):
    rotated = rasterio.Affine(0.4, 0.3, 430_000, 0.3, -0.4, 9_160_000)
    source = make_raster(transform=rotated)
    assert predict(f"input={source.as_posix()}", ALL) == 0
    with rasterio.open(tmp_path / "out" / "classes" / "flight.tif") as raster:
        assert raster.crs.to_epsg() == 32749 and raster.transform == rotated
        assert raster.nodata == 255 and raster.colormap(1)[1][:3] == (20, 160, 20)
        assert raster.shape == (150, 210) and raster.read(1).max() <= 2
    with rasterio.open(tmp_path / "out" / "confidence" / "flight.tif") as raster:
        percent = raster.read(1)
        assert raster.transform == rotated and percent.min() >= 33 and percent.max() <= 100
    rows = rows_of(tmp_path / "out" / "areas.csv")
    assert sum(int(row["pixels"]) for row in rows if row["image"] == "flight") == 150 * 210
    hectares = sum(float(row["hectares"]) for row in rows if row["image"] == "(all)")
    assert hectares == pytest.approx(150 * 210 * 0.25 / 10_000, rel=1e-3)
    assert not (tmp_path / "out" / "unfinished").exists()


def test_polygons_cover_the_classes(predict: Verb, make_raster, tmp_path: Path):
    assert predict(f"input={make_raster().as_posix()}", ALL) == 0
    found = json.loads((tmp_path / "out" / "polygons" / "flight.geojson").read_text(encoding="utf-8"))
    assert found["features"] and {f["properties"]["class"] for f in found["features"]} <= {"soil", "palm", "road"}
    longitude, latitude = found["features"][0]["geometry"]["coordinates"][0][0]
    assert 110 < longitude < 111 and -8 < latitude < -7
    pyogrio, shapely = pytest.importorskip("pyogrio"), pytest.importorskip("shapely")
    meta, _, wkb, _ = pyogrio.raw.read(tmp_path / "out" / "polygons" / "flight.gpkg")
    assert meta["crs"] == "EPSG:32749" and len(wkb) == len(found["features"])
    assert shapely.area(shapely.from_wkb(wkb)).sum() == pytest.approx(150 * 210 * 0.25)


def test_a_folder_keeps_its_structure_and_images_of_one_size_share_batches(
    predict: Verb, tmp_path: Path, picture, monkeypatch
):
    from semiseg.trained import Trained

    batches: list[int] = []
    original = Trained.probabilities
    monkeypatch.setattr(Trained, "probabilities", lambda self, x: (batches.append(len(x)), original(self, x))[1])
    for number in range(5):
        write_png(tmp_path / "in" / f"flight {number % 2}" / f"{number}.png", picture[:64, :64])
    write_png(tmp_path / "in" / "small.png", picture[:40, :36])
    assert predict(ALL) == 0
    assert sorted(batches) == [1, 1, 2, 2]
    out = tmp_path / "out"
    with Image.open(out / "classes" / "flight 1" / "3.png") as image:
        assert image.mode == "P" and image.size == (64, 64) and image.getpalette()[3:6] == [20, 160, 20]
        assert np.asarray(image).max() <= 2
    with Image.open(out / "classes" / "small.png") as image:
        assert image.size == (36, 40)
    assert (out / "overlay" / "flight 0" / "4.png").is_file() and (out / "polygons" / "small.geojson").is_file()
    rows = rows_of(out / "areas.csv")
    assert {row["method"] for row in rows} == {"pixels"} and not any(row["hectares"] for row in rows)
    assert sum(float(row["share"]) for row in rows if row["image"] == "(all)") == pytest.approx(1, abs=1e-5)


def test_a_second_call_goes_on(predict: Verb, tmp_path: Path, picture, capsys):
    for number in range(3):
        write_png(tmp_path / "in" / f"{number}.png", picture[:64, :64])
    assert predict() == 0
    kept, removed = (tmp_path / "out" / "classes" / f"{number}.png" for number in (0, 1))
    before = kept.stat().st_mtime_ns
    removed.unlink()
    capsys.readouterr()
    assert predict() == 0
    assert "2 of 3 images are predicted already" in capsys.readouterr().out
    assert removed.is_file() and kept.stat().st_mtime_ns == before
    assert len([row for row in rows_of(tmp_path / "out" / "areas.csv") if row["image"] == "1"]) <= 3
    for number in (1, 2):
        (tmp_path / "out" / "classes" / f"{number}.png").unlink()
    assert predict() == 0
    assert "1 of 3 images is predicted already" in capsys.readouterr().out


def test_an_image_of_the_same_name_and_time_is_predicted_all_the_same(predict: Verb, tmp_path: Path, picture, capsys):
    """Of another folder, and of another size in its place: copies keep the time of their original."""
    write_png(tmp_path / "in" / "a.png", picture[:64, :64])
    write_png(tmp_path / "other" / "a.png", picture[:40, :40])
    for folder in ("in", "other"):
        os.utime(tmp_path / folder / "a.png", ns=(10**18, 10**18))
    assert predict() == 0
    assert predict(f"input={(tmp_path / 'other').as_posix()}") == 0
    assert "1 image to predict" in capsys.readouterr().out.rpartition("Written")[0].rpartition("Written")[2]
    with Image.open(tmp_path / "out" / "classes" / "a.png") as image:
        assert image.size == (40, 40)
    write_png(tmp_path / "other" / "a.png", picture[:50, :50])
    os.utime(tmp_path / "other" / "a.png", ns=(10**18, 10**18))
    assert predict(f"input={(tmp_path / 'other').as_posix()}") == 0
    with Image.open(tmp_path / "out" / "classes" / "a.png") as image:
        assert image.size == (50, 50)


def test_pictures_that_are_missing_are_drawn_later(predict: Verb, tmp_path: Path, picture, capsys):
    for number in range(3):
        write_png(tmp_path / "in" / f"{number}.png", picture[:64, :64])
    assert predict() == 0
    for _ in range(2):
        assert predict("visualize=true", "visualize_first=2") == 0
    assert sorted(path.name for path in (tmp_path / "out" / "visualize").iterdir()) == ["0.png", "1.png"]
    said = capsys.readouterr().out
    assert "1 of 3 images is predicted already" in said and "3 of 3 images are predicted already" in said


def test_the_areas_of_a_call_are_those_of_its_images(predict: Verb, tmp_path: Path, picture):
    write_png(tmp_path / "in" / "a.png", picture[:64, :64])
    write_png(tmp_path / "other" / "b.png", picture[:40, :40])
    broken = tmp_path / "other" / "c.png"
    write_png(broken, picture[:40, :40])
    other = f"input={(tmp_path / 'other').as_posix()}"
    for _ in range(2):
        assert predict() == 0 and predict(other) == 0
        rows = rows_of(tmp_path / "out" / "areas.csv")
        assert {row["image"] for row in rows} == {"(all)", "b", "c"}
        assert sum(int(row["pixels"]) for row in rows if row["image"] == "(all)") == 2 * 40 * 40
    broken.write_bytes(b"broken")
    assert predict(other) == 1
    assert {row["image"] for row in rows_of(tmp_path / "out" / "areas.csv")} == {"(all)", "b"}


def test_a_hole_in_another_input_does_not_fail_a_call(predict: Verb, make_raster, tmp_path: Path, picture):
    path = make_raster(tiled=True, blockxsize=64, blockysize=64, compress="deflate")
    with rasterio.open(path) as raster:
        offset = int(raster.get_tag_item("BLOCK_OFFSET_3_0", "TIFF", bidx=1))
    data = path.read_bytes()
    path.write_bytes(data[:offset] + b"\xff" * 300 + data[offset + 300 :])
    write_png(tmp_path / "other" / "b.png", picture[:40, :40])
    assert predict() == 1
    assert predict(f"input={(tmp_path / 'other').as_posix()}") == 0


def test_an_interrupted_raster_goes_on_from_its_finished_strips(
    predict: Verb, make_raster, tmp_path: Path, monkeypatch, trained_run: Path
):
    """Interrupted after any number of strips, the end is the same, byte by byte, and nothing is half-written."""
    from semiseg.trained import Trained

    make_raster()
    assert predict(f"out={(tmp_path / 'whole').as_posix()}") == 0
    original, calls, limit = Trained.probabilities, [], 5

    def counted(self: Trained, images):
        calls.append(len(images))
        if len(calls) > limit:
            raise KeyboardInterrupt
        return original(self, images)

    monkeypatch.setattr(Trained, "probabilities", counted)
    assert predict() == 130
    assert not (tmp_path / "out" / "classes").exists()
    state = json.loads((tmp_path / "out" / "unfinished" / "flight.part.json").read_text(encoding="utf-8"))
    assert 0 < state["rows"] < 150
    calls.clear()
    limit = 10**6
    assert predict() == 0
    names = ("whole", "out")
    whole, resumed = (rasterio.open(tmp_path / name / "classes" / "flight.tif").read(1) for name in names)
    np.testing.assert_array_equal(whole, resumed)
    assert len(calls) < 8  # of the 8 batches that the whole raster takes


def test_what_cannot_be_read_is_named_and_the_rest_goes_on(predict: Verb, tmp_path: Path, picture, make_raster, capsys):
    write_png(tmp_path / "in" / "good.png", picture[:64, :64])
    (tmp_path / "in" / "bad.png").write_bytes(b"broken")
    (tmp_path / "in" / "bad.tif").write_bytes(b"broken")
    assert predict() == 1
    out, err = capsys.readouterr()
    assert "bad.png" in out and "bad.tif" in out and err.count("\n") == 1 and "2 images cannot be read" in err
    assert "All else is predicted" in err and "on_error" not in out
    assert [path.name for path in (tmp_path / "out" / "classes").iterdir()] == ["good.png"]


def test_nothing_that_can_be_read_is_said_so(predict: Verb, tmp_path: Path, capsys):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "bad.png").write_text("words", encoding="utf-8")
    assert predict() == 1
    out, err = capsys.readouterr()
    assert "1 image to predict" in out and "Restore the file or remove it." in out and "Nothing new is predicted" in out
    assert "1 image cannot be read: " in err and "Nothing is predicted; repair" in err


def test_odd_rasters_are_predicted_with_one_warning_a_kind(predict: Verb, make_raster, tmp_path: Path, picture, capsys):
    dark = picture.astype(np.uint16) * 16
    for name in "ab":
        make_raster(f"dark {name}.tif", dark)
        make_raster(f"loose {name}.tif", transform=rasterio.Affine.identity())
    assert predict(ALL) == 0
    out = capsys.readouterr().out
    assert out.count("stretch=[0,4095]") == 1 and "brightest value found in samples is 4,0" in out
    assert out.count("it has a CRS but neither a transform nor control points") == 1
    assert "2 images have a CRS but no transform" in out and "2 images have values that are nearly black" in out
    assert "126.0 kilopixels at" in out
    rows = rows_of(tmp_path / "out" / "areas.csv")
    assert {row["hectares"] for row in rows if row["image"].startswith("loose")} == {""}
    assert "without 2 of 4 images" in rows[0]["method"] and float(rows[0]["hectares"] or 0) + 1 > 0
    assert not (tmp_path / "out" / "polygons" / "loose a.gpkg").exists()
    images = [row["image"] for row in rows]
    assert images == sorted(images)
    assert predict(ALL, "stretch=[0,4095]", f"out={(tmp_path / 'stretched').as_posix()}") == 0
    assert "nearly black" not in capsys.readouterr().out


def test_a_corrupt_block_is_no_data(predict: Verb, make_raster, tmp_path: Path, capsys):
    path = make_raster(tiled=True, blockxsize=64, blockysize=64, compress="deflate")
    with rasterio.open(path) as raster:
        offset = int(raster.get_tag_item("BLOCK_OFFSET_3_0", "TIFF", bidx=1))
    data = path.read_bytes()
    path.write_bytes(data[:offset] + b"\xff" * 300 + data[offset + 300 :])
    assert predict(ALL) == 1
    assert "blocks that cannot be read, the first is flight" in capsys.readouterr().err
    with rasterio.open(tmp_path / "out" / "classes" / "flight.tif") as raster:
        classes = raster.read(1)
    hole = np.zeros((150, 210), dtype=np.bool_)
    hole[:64, 192:] = True
    np.testing.assert_array_equal(classes == 255, hole)
    assert predict(ALL) == 1  # it is not forgotten
    path.write_bytes(data)
    assert predict(ALL) == 0  # repaired, it is predicted again
    with rasterio.open(tmp_path / "out" / "classes" / "flight.tif") as raster:
        assert (raster.read(1) != 255).all()


def test_rasters_of_every_kind(predict: Verb, make_raster, tmp_path: Path, picture):
    holed = np.concatenate([picture, np.full((150, 210, 1), 255, np.uint8)], -1)
    holed[:70, :80, 3] = 0
    make_raster("grey.tif", picture[..., :1])
    make_raster("alpha.tif", holed, alpha=True)
    make_raster("wide.tif", picture.astype(np.uint16) * 257)
    make_raster("loose.tif", crs=None, transform=rasterio.Affine.identity())
    make_raster("tiny.tif", picture[:5, :7])
    make_raster("degrees.tif", crs="EPSG:4326", transform=rasterio.Affine(1e-5, 0, 110.4, 0, -1e-5, -7.6))
    assert predict(ALL) == 0
    maps = {path.stem: rasterio.open(path) for path in (tmp_path / "out" / "classes").iterdir()}
    assert maps.keys() == {"grey", "alpha", "wide", "loose", "tiny", "degrees"}
    assert (maps["alpha"].read(1)[:70, :80] == 255).all() and (maps["alpha"].read(1)[70:] != 255).all()
    assert maps["loose"].crs is None and maps["tiny"].shape == (5, 7)
    rows = rows_of(tmp_path / "out" / "areas.csv")
    area = {name: sum(float(r["hectares"] or 0) for r in rows if r["image"] == name) for name in maps}
    assert area["grey"] == pytest.approx(150 * 210 * 0.25e-4, rel=1e-3) and area["loose"] == 0
    metres = 1e-5 * 111_320  # of a hundred-thousandth of a degree, times its cosine to the east
    assert area["degrees"] == pytest.approx(150 * 210 * metres**2 * np.cos(np.radians(7.6)) / 1e4, rel=0.01)
    assert {r["method"] for r in rows if r["image"] == "degrees"} == {"WGS 84 ellipsoid"}


def test_patches_of_a_data_set_with_their_truth(predict: Verb, salak_root: Path, tmp_path: Path, trained_run: Path):
    import torch

    from semiseg.evaluation.subject import write_classes
    from semiseg.trained import load_trained

    mapping = tmp_path / "classes.csv"
    write_classes(mapping, load_trained(trained_run, torch.device("cpu")).classes)
    for mask in salak_root.glob("*/masks/*.png"):
        cv2.imwrite(str(mask), np.full((32, 32), 1, dtype=np.uint8))
    data = ("data=salak", f"data.root={salak_root.as_posix()}", f"data.class_mapping={mapping.as_posix()}")
    settings = (*data, "data.cache_dir=" + (tmp_path / "cache").as_posix(), "input=null")
    assert predict(*settings, "split=unlabeled") == 0
    assert len(list((tmp_path / "out" / "classes").rglob("*.png"))) == 8
    assert (tmp_path / "out" / "classes" / "salak-2-1" / "images" / "e_patch_000_000.png").is_file()
    assert predict(*settings, "split=val", "visualize=true", "visualize_first=2", f"out={tmp_path / 'val'}") == 0
    pictures = list((tmp_path / "val" / "visualize").rglob("*.png"))
    assert len(pictures) == 2 and cv2.imread(str(pictures[0])).shape[1] > 6 * 64  # six panels


@pytest.mark.parametrize("split", ["all", "unlabeled"])
def test_a_data_set_without_any_mask_is_predicted(predict: Verb, salak_root: Path, tmp_path: Path, trained_run, split):
    import torch

    from semiseg.evaluation.subject import write_classes
    from semiseg.trained import load_trained

    write_classes(salak_root / "class_mapping.csv", load_trained(trained_run, torch.device("cpu")).classes)
    for masks in list(salak_root.glob("*/masks")):
        shutil.rmtree(masks)
    cache = f"data.cache_dir={(tmp_path / 'cache').as_posix()}"
    assert predict("input=null", "data=salak", f"data.root={salak_root.as_posix()}", cache, f"split={split}") == 0
    images = [path.relative_to(salak_root) for path in salak_root.glob("*/images/*")]
    assert images and all((tmp_path / "out" / "classes" / path).is_file() for path in images)


def test_out_inside_the_input_is_not_predicted_again(predict: Verb, tmp_path: Path, picture):
    write_png(tmp_path / "in" / "a.png", picture[:64, :64])
    inside = f"out={(tmp_path / 'in' / 'predicted').as_posix()}"
    assert predict(inside, ALL) == 0
    assert predict(inside, ALL) == 0
    assert [p.name for p in (tmp_path / "in" / "predicted" / "classes").rglob("*.*")] == ["a.png"]


def test_two_images_of_one_name(predict: Verb, tmp_path: Path, picture, make_raster):
    write_png(tmp_path / "in" / "flight.png", picture[:64, :64])
    make_raster()
    assert predict() == 0
    names = sorted(path.name for path in (tmp_path / "out" / "classes").iterdir())
    assert names == ["flight.png.png", "flight.tif.tif"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("input=nowhere",), "input=nowhere does not exist"),
        (("overlap=40",), "overlap=40 is more than half of tile=64"),
        (("outputs=[maps]",), "outputs is 'maps'"),
        (("stretch=[5,5]",), "stretch=[5, 5]"),
        (("run=nowhere",), "run=nowhere does not exist"),
        (("tiles=3",), "there is no group or key 'tiles'"),
        (("device=tpu",), "device is 'tpu'"),
        (("device=cpu:x",), "device is 'cpu:x'; a single GPU of several is cuda:0, cuda:1, ..."),
        (("outputs=maps",), "outputs is 'maps'"),
        (("model=v1",), "model is no setting of a prediction: the run has its own"),
        (("data=salak", "data.root=here"), "data= is of the patches of a data set"),
        (("split=val",), "split= is of the patches of a data set, and input="),
    ],
)
def test_wrong_settings_are_one_clear_line(predict: Verb, tmp_path: Path, picture, capsys, overrides, message):
    write_png(tmp_path / "in" / "a.png", picture[:64, :64])
    assert predict(*overrides) == 1
    err = capsys.readouterr().err
    assert message in err and err.count("\n") == 1


def test_wrong_folders_are_one_clear_line(predict: Verb, tmp_path: Path, picture, capsys):
    (tmp_path / "in").mkdir()
    assert predict() == 1
    assert "hold no image" in capsys.readouterr().err
    write_png(tmp_path / "in" / "a.png", picture[:64, :64])
    assert predict(f"out={(tmp_path / 'in').as_posix()}") == 1
    assert "is the folder of the images" in capsys.readouterr().err
    assert predict() == 0
    assert predict("tile=96") == 1
    assert "holds predictions with tile=64, asked for is 96" in capsys.readouterr().err


def test_one_output_is_a_word(predict: Verb, tmp_path: Path, picture):
    write_png(tmp_path / "in" / "a.png", picture[:64, :64])
    assert predict("outputs=confidence") == 0
    assert (tmp_path / "out" / "confidence" / "a.png").is_file() and not (tmp_path / "out" / "areas.csv").exists()


def test_polygons_of_two_sizes_are_not_mixed(predict: Verb, tmp_path: Path, picture, capsys):
    write_png(tmp_path / "in" / "a.png", picture[:64, :64])
    assert predict("smallest_polygon=3") == 0  # of no account without polygons
    assert predict("outputs=polygons", "smallest_polygon=50") == 0
    assert predict("smallest_polygon=0") == 0
    assert predict("outputs=polygons", "smallest_polygon=0") == 1
    assert "with smallest_polygon=50, asked for is 0" in capsys.readouterr().err


def test_a_folder_of_another_run_names_both(predict: Verb, tmp_path: Path, trained_run: Path, picture, capsys):
    import torch

    write_png(tmp_path / "in" / "a.png", picture[:64, :64])
    second = tmp_path / "second"
    shutil.copytree(trained_run, second)
    weights = second / "checkpoints" / "best_model.pth"
    state = torch.load(weights)
    torch.save({key: value + 1 if value.is_floating_point() else value for key, value in state.items()}, weights)
    assert predict() == 0
    assert predict(f"run={second.as_posix()}") == 1
    err = capsys.readouterr().err
    assert f"of run={trained_run / 'checkpoints' / 'best_model.pth'}, asked for is run={weights}." in err
    out = f"out={(tmp_path / 'again').as_posix()}"
    assert predict(f"run={second.as_posix()}", out) == 0
    torch.save(state, weights)
    assert predict(f"run={second.as_posix()}", out) == 1
    assert "with weights that were replaced since" in capsys.readouterr().err
