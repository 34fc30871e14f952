from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from semiseg.errors import SemisegError
from semiseg.prediction.mosaic import Mosaic, decide
from semiseg.prediction.planes import CLASSES, Held, Part
from semiseg.prediction.tiling import lay_out
from semiseg.trained import load_trained

CPU = torch.device("cpu")


def mosaic_of(predict, image: np.ndarray, num_classes: int, tile: int, overlap: int) -> np.ndarray:
    """[2, H, W] by tiles of an image [H, W, 3]; `predict` makes [3, h, w] into [C, h, w]."""
    rows, columns = (lay_out(side, tile, overlap) for side in image.shape[:2])
    mosaic, strips = Mosaic(rows, columns, num_classes, CPU), []
    for row, column in itertools.product(range(len(rows)), range(len(columns))):
        top, left = rows.starts[row], columns.starts[column]
        window = torch.from_numpy(image[top : top + rows.size, left : left + columns.size].copy()).permute(2, 0, 1)
        strip = mosaic.add(row, column, predict(window[None])[0])
        if strip is not None:
            strips.append(strip.copy())
    return np.concatenate(strips, axis=1)


@pytest.mark.parametrize(("height", "width"), [(150, 210), (64, 210), (65, 66), (150, 40)])
def test_tiles_of_a_network_that_sees_no_further_than_the_halo_are_the_whole_image(toy, picture, height, width):
    """Exactly, except within the radius of the image's border, where the toy's own zero padding differs for nobody."""
    image = picture[:height, :width]
    whole = decide(toy.probabilities(torch.from_numpy(image.copy()).permute(2, 0, 1)[None])[0]).numpy()
    tiled = mosaic_of(toy.probabilities, image, 3, tile=64, overlap=16)
    np.testing.assert_array_equal(tiled[0], whole[0])
    assert np.abs(tiled[1].astype(int) - whole[1]).max() <= 1  # percent: a float32 sum may round the other way


def test_what_a_network_sees_beyond_the_halo_shows(toy, picture):
    """The exactness above is due to the halo: without an overlap the tiles' edges differ."""
    whole = decide(toy.probabilities(torch.from_numpy(picture.copy()).permute(2, 0, 1)[None])[0]).numpy()
    tiled = mosaic_of(toy.probabilities, picture, 3, tile=64, overlap=0)
    assert (tiled[0] != whole[0]).any()


def test_a_real_network_agrees_with_itself_away_from_borders_and_shows_no_seams(trained_run: Path, picture):
    """Its pooling sees the whole tile, so only nearly: 90 % of the classes, and no jump of confidence along an edge."""
    import cv2

    image = np.asarray(cv2.resize(picture, (420, 300)), dtype=np.uint8)
    trained = load_trained(trained_run, CPU)
    whole = decide(trained.probabilities(torch.from_numpy(image.copy()).permute(2, 0, 1)[None])[0]).numpy()
    tiled = mosaic_of(trained.probabilities, image, 3, tile=192, overlap=96)
    inner = np.s_[32:-32, 32:-32]
    assert (tiled[0][inner] == whole[0][inner]).mean() > 0.9
    assert np.abs(tiled[1][inner].astype(int) - whole[1][inner]).mean() < 5
    jumps = np.abs(np.diff(tiled[1].astype(int), axis=1)).mean(axis=0)
    edges = lay_out(420, 192, 96).starts[1:]
    assert max(jumps[edge - 2 : edge + 2].max() for edge in edges) <= 3 * np.median(jumps) + 1


def test_holes_are_no_data_and_tiles_of_nothing_else_need_no_network():
    rows, columns = lay_out(20, 20, 4), lay_out(36, 20, 4)
    mosaic = Mosaic(rows, columns, 2, CPU)
    valid = np.ones((20, 20), dtype=np.bool_)
    valid[3, 5] = False
    certain = torch.tensor([0.0, 1.0])[:, None, None].expand(2, 20, 20)
    assert mosaic.add(0, 0, certain, valid) is None
    strip = mosaic.add(0, 1, None)
    assert strip is not None
    assert (strip[:, 3, 5] == 255).all() and strip[0, 4, 5] == 1 and strip[1, 4, 5] == 100
    assert (strip[:, :, 16:] == 255).all()


def test_what_is_held_does_not_grow_with_the_height():
    held = {}
    for height in (200, 20_000):
        rows, columns = lay_out(height, 64, 16), lay_out(1000, 64, 16)
        held[height] = Mosaic(rows, columns, 7, CPU).held_bytes
    assert held[20_000] < 1.3 * held[200]
    # An overlap of probabilities over the width, and three bytes for each pixel of a strip.
    assert held[20_000] < 1000 * (7 * 4 * 18 + 3 * 50) + 200_000


def test_a_part_file_keeps_finished_rows_for_the_same_settings_only(tmp_path: Path):
    strip = np.arange(2 * 3 * 5, dtype=np.uint8).reshape(2, 3, 5)
    part = Part(tmp_path / "a.part", 7, 5, key="one")
    part.write(0, strip)
    part.write(3, strip + 100)
    part.write(0, strip + 50)  # finished already: left as it is
    again = Part(tmp_path / "a.part", 7, 5, key="one")
    assert again.rows == 6
    np.testing.assert_array_equal(again.read(0, 1, 5), np.concatenate([strip[0, 1:], strip[0, :2] + 100]))
    np.testing.assert_array_equal(again.read(1, 3, 6), strip[1] + 100)
    assert Part(tmp_path / "a.part", 7, 5, key="other").rows == 0
    assert Part(tmp_path / "a.part", 7, 5, key="one").rows == 0  # the other one has emptied it


def test_a_part_file_that_was_cut_is_not_read_as_class_0(tmp_path: Path):
    part = Part(tmp_path / "a.part", 7, 5, key="one")
    part.write(0, np.ones((2, 7, 5), dtype=np.uint8))
    part.path.write_bytes(part.path.read_bytes()[:50])
    assert part.read(0, 0, 7).all()
    with pytest.raises(SemisegError, match=r"a\.part lost some of what was predicted"):
        part.read(1, 0, 7)


def test_planes_in_memory_and_on_disk_are_the_same(tmp_path: Path):
    values = np.random.default_rng(0).integers(0, 255, (2, 30, 20), dtype=np.uint8)
    held, part = Held(30, 20), Part(tmp_path / "a.part", 30, 20, "")
    for planes in (held, part):
        planes.write(0, values[:, :12])
        planes.write(12, values[:, 12:])
        np.testing.assert_array_equal(np.concatenate([s for _, s in planes.strips(CLASSES, 7)]), values[0])
        np.testing.assert_array_equal(planes.thumbnail(1, 15, 10), values[1, 1::2, 1::2])
