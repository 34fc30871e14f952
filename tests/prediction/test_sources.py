from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from semiseg.errors import DataError
from semiseg.prediction.images import Picture
from semiseg.prediction.raster import Raster
from semiseg.prediction.sources import open_source

rasterio = pytest.importorskip("rasterio", reason="rasterio is not installed")
WINDOW = (20, 30, 40, 50)


def window_of(image: np.ndarray) -> np.ndarray:
    top, left, height, width = WINDOW
    return image[top : top + height, left : left + width]


def test_a_window_of_a_raster_is_that_of_its_image(make_raster, picture):
    source = open_source(make_raster(tiled=True, blockxsize=64, blockysize=64))
    image, valid = source.read(*WINDOW)
    np.testing.assert_array_equal(image, window_of(picture))
    assert valid is None and (source.height, source.width) == (150, 210)
    assert source.place is not None and source.place.crs.to_epsg() == 32749


def test_grey_is_repeated(make_raster, picture):
    image, _ = open_source(make_raster(image=picture[..., :1])).read(*WINDOW)
    np.testing.assert_array_equal(image, np.repeat(window_of(picture)[..., :1], 3, axis=-1))


def test_alpha_is_a_mask_of_validity(make_raster, picture):
    alpha = np.full((*picture.shape[:2], 1), 255, dtype=np.uint8)
    alpha[25:30, 35:45] = 0
    alpha[40, 40] = 7  # hardly to be seen, but there
    image, valid = open_source(make_raster(image=np.concatenate([picture, alpha], -1), alpha=True)).read(*WINDOW)
    expected = window_of(alpha)[..., 0] > 0
    np.testing.assert_array_equal(valid, expected)
    np.testing.assert_array_equal(image[expected], window_of(picture)[expected])
    assert (image[~expected] == 0).all()


def test_a_fourth_band_of_another_kind_is_left_out(make_raster, picture):
    bands = np.concatenate([picture, picture[..., :1]], axis=-1)
    image, valid = open_source(make_raster(image=bands, photometric="RGB", alpha="no")).read(*WINDOW)
    np.testing.assert_array_equal(image, window_of(picture))
    assert valid is None


def test_nodata_is_a_hole(make_raster, picture):
    holed = picture.copy()
    holed[22:24, 33:60] = 0
    _, valid = open_source(make_raster(image=np.maximum(holed, 1) * (holed > 0), nodata=0)).read(*WINDOW)
    assert valid is not None and not valid[2:4, 3:30].any() and valid[10:].all()


def test_sixteen_bits_are_divided_by_257_or_stretched(make_raster, picture):
    wide = picture.astype(np.uint16) * 257
    image, _ = open_source(make_raster(image=wide)).read(*WINDOW)
    np.testing.assert_array_equal(image, window_of(picture))
    twelve = picture.astype(np.uint16) * 16
    image, _ = Raster(make_raster("twelve.tif", image=twelve), stretch=[0, 255 * 16]).read(*WINDOW)
    np.testing.assert_array_equal(image, window_of(picture))


@pytest.mark.parametrize("bits", [1, 4, 12])
def test_values_of_fewer_bits_than_their_type_fill_the_range(make_raster, picture, bits: int):
    """Such as a TIFF of 12 bits, which is read as 16."""
    white = 2**bits - 1
    stored = (picture.astype(np.uint32) * white // 255).astype(np.uint16 if bits > 8 else np.uint8)
    source = open_source(make_raster(image=stored, NBITS=bits))
    image, _ = source.read(*WINDOW)
    np.testing.assert_array_equal(image, np.floor(window_of(stored) * (255 / white) + 0.5).astype(np.uint8))
    assert not source.remarks


@pytest.mark.parametrize(("factor", "remarked"), [(16, True), (31, True), (40, False), (257, False)])
def test_values_far_below_white_are_remarked_on_with_a_stretch(make_raster, picture, factor: int, remarked: bool):
    dark = picture.astype(np.uint16) * factor
    dark[:90, :100] = 65_535
    source = open_source(make_raster(image=dark, nodata=65_535))  # a hole is not bright
    assert bool(source.remarks) == remarked
    if remarked:
        white = {16: 4095, 31: 8191}[factor]
        assert f"stretch=[0,{white}]" in "".join(source.remarks.values())
        assert not Raster(make_raster(image=dark), stretch=[0, white]).remarks


def test_a_crs_without_a_transform_is_no_place(make_raster):
    """Control points are one."""
    source = open_source(make_raster(transform=rasterio.Affine.identity()))
    assert (
        source.place is not None and source.place.crs is None and "control points" in "".join(source.remarks.values())
    )
    points = [
        rasterio.control.GroundControlPoint(r, c, 430_000 + c, 9_160_000 - r) for r, c in ((0, 0), (0, 9), (9, 0))
    ]
    source = open_source(make_raster("points.tif", transform=None, gcps=points))
    assert source.place is not None and source.place.crs is not None and not source.remarks


def test_a_type_without_a_known_range_is_one_clear_message(make_raster, picture):
    path = make_raster(image=(picture / 255).astype(np.float32), nodata=float("nan"))
    with pytest.raises(DataError, match=r"float32 have no known range.*stretch="):
        open_source(path)
    image, valid = Raster(path, stretch=[0, 1]).read(*WINDOW)
    np.testing.assert_array_equal(image, window_of(picture))
    assert valid is None


def test_a_palette_is_expanded(make_raster):
    ids = np.random.default_rng(0).integers(0, 3, (150, 210, 1), dtype=np.uint8)
    path = make_raster(image=ids)
    with rasterio.open(path, "r+") as raster:
        raster.write_colormap(1, {0: (1, 2, 3, 255), 1: (4, 5, 6, 255), 2: (7, 8, 9, 255)})
    image, _ = open_source(path).read(*WINDOW)
    np.testing.assert_array_equal(
        image, np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]], dtype=np.uint8)[window_of(ids)[..., 0]]
    )


def test_a_corrupt_block_is_named_and_is_a_hole(make_raster, picture):
    path = make_raster(tiled=True, blockxsize=64, blockysize=64, compress="deflate")
    break_block(path, 1, 1)
    source = open_source(path)
    image, valid = source.read(64, 64, 64, 64)
    assert valid is not None and not valid.any() and (image == 0).all()
    assert len(source.problems) == 1 and "row 64, column 64" in source.problems[0]
    whole, nothing = source.read(0, 128, 64, 64)
    np.testing.assert_array_equal(whole, picture[:64, 128:192])
    assert nothing is None
    assert source.thumbnail(15, 21).shape == (15, 21, 3)


def break_block(path: Path, row: int, column: int) -> None:
    """Overwrite the first block (row, column) of 64x64 pixels with noise."""
    data = path.read_bytes()
    with rasterio.open(path) as raster:
        offset = int(raster.get_tag_item(f"BLOCK_OFFSET_{column}_{row}", "TIFF", bidx=1))
    path.write_bytes(data[:offset] + b"\xff" * 500 + data[offset + 500 :])


def test_a_file_that_is_no_raster_is_named(tmp_path):
    path = tmp_path / "broken.tif"
    path.write_bytes(b"II*\0broken")
    with pytest.raises(DataError, match=r"broken\.tif cannot be opened"):
        open_source(path)


def test_a_stretch_that_would_do_nothing_is_refused(tmp_path, picture):
    cv2.imwrite(str(tmp_path / "deep.png"), picture.astype(np.uint16) * 16)
    cv2.imwrite(str(tmp_path / "plain.png"), picture)
    with pytest.raises(DataError, match=r"deep\.png has 16 bits, and stretch= is for rasters alone"):
        open_source(tmp_path / "deep.png", stretch=[0, 4095])
    assert open_source(tmp_path / "deep.png").height == open_source(tmp_path / "plain.png", stretch=[0, 4095]).height


def test_a_raster_that_is_gone_is_a_hole_with_a_reason(make_raster, picture):
    path = make_raster(image=picture)
    source = Raster(path)
    source.close()
    path.unlink()
    _, valid = source.read(0, 0, 20, 30)
    assert valid is not None and not valid.any() and source.thumbnail(10, 12).shape == (10, 12, 3)
    assert source.problems == ["it could not be opened again while it was predicted"]


def test_a_transparent_png_has_holes(tmp_path, picture):
    alpha = np.full((150, 210, 1), 255, dtype=np.uint8)
    alpha[:10] = 0
    cv2.imwrite(str(tmp_path / "a.png"), np.concatenate([picture[..., ::-1], alpha], -1))
    source = open_source(tmp_path / "a.png")
    image, valid = source.read(0, 0, 150, 210)
    assert isinstance(source, Picture) and valid is not None
    assert not valid[:10].any() and valid[10:].all()
    np.testing.assert_array_equal(image[10:], picture[10:])


def test_rasterio_is_asked_for_in_one_line(monkeypatch, tmp_path):
    import builtins

    from semiseg.errors import ConfigError
    from semiseg.prediction.place import geo

    original = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("rasterio"):
            raise ImportError(name)
        return original(name, *args, **kwargs)

    geo.cache_clear()
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ConfigError, match=r'pip install -e "\.\[geo\]"'):
        open_source(tmp_path / "flight.tif")
