"""What an uploaded file becomes, without a server."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from semiseg.errors import SemisegError
from semiseg.prediction.options import PredictConfig
from semiseg.serve import markup
from semiseg.serve.answer import Answer, answer

rasterio = pytest.importorskip("rasterio", reason="rasterio is not installed")
RED, BLUE = (220, 20, 20), (10, 10, 200)


@pytest.fixture
def ask(system: Any, tmp_path: Path) -> Callable[[Path], Answer]:
    (tmp_path / "own").mkdir()
    cfg = PredictConfig(run="", out=str(tmp_path / "own" / "out"), device="cpu", tile=64, overlap=16)
    return lambda upload: answer(system, upload, tmp_path / "own", cfg)


@pytest.fixture
def image() -> np.ndarray:
    """A quarter of it red, [80, 100, 3]."""
    made = np.full((80, 100, 3), BLUE, dtype=np.uint8)
    made[:40, :50] = RED
    return made


def test_a_georeferenced_raster_gives_hectares_and_polygons(
    ask: Callable[[Path], Answer], image: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "flight.tif"
    place = {"crs": "EPSG:32749", "transform": rasterio.Affine(10, 0, 430_000, 0, -10, 9_160_000)}
    with rasterio.open(path, "w", driver="GTiff", height=80, width=100, count=3, dtype="uint8", **place) as raster:
        raster.write(np.moveaxis(image, -1, 0))
    found = ask(path)
    assert found.entry.pixels == [2000, 6000, 0] and found.entry.hectares == pytest.approx([20, 60])
    names = {each.name for each in found.downloads}
    assert {"flight-areas.csv", "flight-classes.tif", "flight-overlay.png", "flight-polygons.geojson"} <= names
    by_name = {each.name: each for each in found.downloads}
    with rasterio.open(by_name["flight-classes.tif"]) as raster:
        assert raster.crs.to_epsg() == 32749
        np.testing.assert_array_equal(raster.read(1), np.where(image[..., 0] > image[..., 2], 0, 1))
    assert json.loads(by_name["flight-polygons.geojson"].read_text(encoding="utf-8"))["features"]
    with Image.open(found.picture) as shown, Image.open(found.overlay) as overlay:
        assert shown.size == overlay.size == (100, 80)
        np.testing.assert_array_equal(np.asarray(shown), image)


def test_an_image_that_the_network_sees_black_is_remarked_on(
    ask: Callable[[Path], Answer], image: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "dark.tif"
    with rasterio.open(path, "w", driver="GTiff", height=80, width=100, count=3, dtype="uint16") as raster:
        raster.write(np.moveaxis(image, -1, 0).astype(np.uint16) * 16)
    (remark,) = ask(path).remarks
    assert "nearly black" in remark and "stretch=[0,4095]" in remark


def test_a_picture_gives_pixels_and_no_polygons(
    ask: Callable[[Path], Answer], image: np.ndarray, tmp_path: Path
) -> None:
    path = tmp_path / "photo.png"
    cv2.imwrite(str(path), image[..., ::-1])
    found = ask(path)
    assert found.entry.hectares is None
    assert {each.name for each in found.downloads} == {"photo-areas.csv", "photo-classes.png", "photo-overlay.png"}
    with found.downloads[0].open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["image"] == "photo"]
    assert [row["pixels"] for row in rows] == ["2000", "6000"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.png", b"nothing", "a.png is no image: give a GeoTIFF, PNG"),
        ("a.tif", b"<VRTDataset rasterXSize='1' rasterYSize='1'/>", "a.tif is no image"),
        ("a.tif", b"II*\0" + b"\xff" * 60, "a.tif cannot be opened"),
        ("a.png", b"\x89PNG\r\n\x1a\n" + b"\0" * 60, "a.png"),
        ("a.jpg", b"", "a.jpg is no image"),
    ],
)
def test_what_cannot_be_predicted_is_one_sentence_without_the_folder(
    ask: Callable[[Path], Answer], tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SemisegError) as refused:
        ask(tmp_path / name)
    text = str(refused.value)
    assert text.startswith(said) and str(tmp_path) not in text and "data.on_error" not in text and "\n" not in text


def test_names_are_escaped(ask: Callable[[Path], Answer], system: Any, image: np.ndarray, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "x.png"), image[..., ::-1])
    entry = ask(tmp_path / "x.png").entry
    table = markup.shares("<img src=x>", entry, system.classes)
    page = markup.about(system) + table + markup.problem("<script>")
    assert "<img" not in page and "<b>" not in page and "<script>" not in page
    assert "red &lt;b&gt;roof&lt;/b&gt;" in page and "0.654" in page
    assert table.index("green &amp; blue") < table.index("red &lt;b&gt;") and "75.0%" in table and "2,000" in table
