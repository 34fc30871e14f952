from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from semiseg.data.classes import ClassMap
from semiseg.data.masks import read_image, read_mask
from semiseg.errors import DataError

CLASSES = ClassMap(("black", "red", "grey", "green"), ((0, 0, 0), (255, 0, 0), (3, 3, 3), (10, 200, 30)))
WITH_WHITE = ClassMap(("road", "house"), ((255, 255, 255), (0, 0, 255)))
IDS = np.array([[0, 1, 2], [3, 255, 0]], dtype=np.uint8)


def save(path: Path, pixels: np.ndarray) -> Path:
    """Write RGB, grey or 16-bit pixels as they are."""
    bgr = pixels[..., [2, 1, 0, *range(3, pixels.shape[2])]] if pixels.ndim == 3 else pixels
    assert cv2.imwrite(str(path), bgr)
    return path


def colored(ids: np.ndarray, classes: ClassMap) -> np.ndarray:
    """[H, W, 3] by a plain loop, ignored pixels white."""
    out = np.full((*ids.shape, 3), 255, dtype=np.uint8)
    for row, column in np.ndindex(*ids.shape):
        if ids[row, column] != 255:
            out[row, column] = classes.colors[ids[row, column]]
    return out


def test_image_is_rgb_under_a_unicode_name(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    folder = tmp_path / "kebun-čšž"
    folder.mkdir()
    Image.fromarray(pixels).save(folder / "salak-ä.png")
    image = read_image(folder / "salak-ä.png")
    assert image.dtype == np.uint8
    assert np.array_equal(image, pixels)


def test_orientation_note_of_a_camera_is_not_applied(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: turn by 90 degrees
    Image.fromarray(np.zeros((8, 16, 3), dtype=np.uint8)).save(tmp_path / "a.jpg", exif=exif)
    assert read_image(tmp_path / "a.jpg").shape == (8, 16, 3)


@pytest.mark.parametrize(
    "pixels",
    [
        IDS,
        IDS.astype(np.uint16),
        np.repeat(IDS[..., None], 3, axis=2),
        colored(IDS, CLASSES),
        np.concatenate([colored(IDS, CLASSES), np.full((2, 3, 1), 7, np.uint8)], axis=2),
    ],
    ids=["one channel", "16 bit", "three equal", "colours", "colours with alpha"],
)
def test_every_form_of_a_mask_reads_the_same(tmp_path: Path, pixels: np.ndarray) -> None:
    mask = read_mask(save(tmp_path / "m.png", pixels), CLASSES)
    assert mask.dtype == np.uint8
    assert np.array_equal(mask, IDS)


def test_a_grey_that_is_an_id_and_a_colour_of_the_mapping_is_not_guessed(tmp_path: Path) -> None:
    grey = np.full((2, 2, 3), 3, dtype=np.uint8)  # id 3, or the colour of class 2
    with pytest.raises(DataError, match="3 may be the id of green or, as a colour, grey"):
        read_mask(save(tmp_path / "m.png", grey), CLASSES)
    assert (read_mask(save(tmp_path / "i.png", grey[..., 0]), CLASSES) == 3).all()
    clear = np.stack([np.array([[1, 3]], dtype=np.uint8)] * 3, axis=2)  # no colour is 1 1 1
    assert read_mask(save(tmp_path / "c.png", clear), CLASSES).tolist() == [[1, 3]]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_patch_of_nothing_but_grey_classes_is_read_as_its_neighbours(tmp_path: Path, channels: int) -> None:
    classes = ClassMap(("soil", "palm", "road", "roof"), ((0, 0, 0), (0, 128, 0), (128, 128, 128), (200, 200, 200)))
    for number, ids in enumerate(([[2, 2]], [[0, 2]], [[3, 255]], [[0, 2]])):
        drawn = colored(np.array(ids, dtype=np.uint8), classes)
        path = save(tmp_path / f"{number}.png", drawn if channels == 3 else drawn[..., 0])
        assert read_mask(path, classes).tolist() == ids
    with pytest.raises(DataError, match="id 77, 128 is unknown"):
        read_mask(save(tmp_path / "odd.png", np.array([[77, 128]], dtype=np.uint8)), classes)


def test_white_is_a_colour_where_the_mapping_has_it(tmp_path: Path) -> None:
    white = np.full((2, 2, 3), 255, dtype=np.uint8)
    assert (read_mask(save(tmp_path / "w.png", white), WITH_WHITE) == 0).all()
    assert (read_mask(save(tmp_path / "i.png", white[..., 0]), WITH_WHITE) == 255).all()
    mixed = colored(np.array([[0, 1]], dtype=np.uint8), WITH_WHITE)
    assert read_mask(save(tmp_path / "c.png", mixed), WITH_WHITE).tolist() == [[0, 1]]


def test_white_on_black_in_one_channel_is_drawn(tmp_path: Path) -> None:
    footprints = ClassMap(("ground", "building"), ((0, 0, 0), (255, 255, 255)))
    drawn = np.array([[0, 255]], dtype=np.uint8)
    assert read_mask(save(tmp_path / "d.png", drawn), footprints).tolist() == [[0, 1]]
    ids = np.array([[0, 1, 255]], dtype=np.uint8)
    assert read_mask(save(tmp_path / "i.png", ids), footprints).tolist() == [[0, 1, 255]]


def test_254_classes_survive_the_color_table(tmp_path: Path) -> None:
    classes = ClassMap(tuple(map(str, range(254))), tuple((number, 255 - number, 77) for number in range(254)))
    ids = np.arange(254, dtype=np.uint8).reshape(2, 127)
    assert np.array_equal(read_mask(save(tmp_path / "m.png", colored(ids, classes)), classes), ids)


def save_palette(path: Path, indices: np.ndarray, palette: list[tuple[int, int, int]]) -> Path:
    image = (
        Image.fromarray(indices, mode="P") if False else Image.frombytes("P", indices.shape[::-1], indices.tobytes())
    )
    image.putpalette([value for color in palette for value in color])
    image.save(path)
    return path


def test_palette_gives_the_index(tmp_path: Path) -> None:
    palette = [(number, 9, 250 - number % 100) for number in range(256)]
    assert np.array_equal(read_mask(save_palette(tmp_path / "m.png", IDS, palette), CLASSES), IDS)


def test_palette_of_mapping_colours_gives_their_classes(tmp_path: Path) -> None:
    indices = np.array([[0, 1, 0], [2, 2, 1]], dtype=np.uint8)
    packed = [CLASSES.colors[3], CLASSES.colors[0], CLASSES.colors[1]]
    mask = read_mask(save_palette(tmp_path / "m.png", indices, packed), CLASSES)
    assert mask.tolist() == [[3, 0, 3], [1, 1, 0]]


@pytest.mark.parametrize(
    ("pixels", "value"),
    [
        (np.array([[0, 4]], dtype=np.uint8), "id 4 "),
        (np.array([[0, 300]], dtype=np.uint16), "id 300 "),
        (np.full((1, 2, 3), 9, dtype=np.uint8), "id 9 "),
        (np.array([[[255, 0, 0], [255, 0, 1]]], dtype=np.uint8), "(255 0 1)"),
    ],
)
def test_unknown_value_is_named_never_background(tmp_path: Path, pixels: np.ndarray, value: str) -> None:
    path = save(tmp_path / "m.png", pixels)
    with pytest.raises(DataError) as error:
        read_mask(path, CLASSES)
    assert str(path) in str(error.value)
    assert value in str(error.value)


def test_unknown_palette_index(tmp_path: Path) -> None:
    path = save_palette(tmp_path / "m.png", np.array([[0, 7]], dtype=np.uint8), [(n, 9, 9) for n in range(256)])
    with pytest.raises(DataError, match="id 7 is unknown"):
        read_mask(path, CLASSES)


@pytest.mark.parametrize("content", [b"", b"no image", None])
def test_undecodable_file_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "broken.png"
    if content is not None:
        path.write_bytes(content)
    for read in (read_image, lambda file: read_mask(file, CLASSES)):
        with pytest.raises(DataError, match=r"broken\.png"):
            read(path)


@pytest.mark.parametrize("palette", [True, False])
def test_truncated_file_is_named(tmp_path: Path, palette: bool) -> None:
    noise = np.random.default_rng(0).integers(0, 4, (64, 64), dtype=np.uint8)
    path = tmp_path / "cut.png"
    if palette:
        save_palette(path, noise, [(number, 9, 9) for number in range(256)])
    else:
        save(path, noise)
    data = path.read_bytes()
    assert read_mask(path, CLASSES).shape == (64, 64)
    path.write_bytes(data[: len(data) - 400])
    with pytest.raises(DataError, match=r"cut\.png.*cannot be decoded"):
        read_mask(path, CLASSES)
