"""Image files of every kind: read with the right values, or refused by name. The judge is NumPy, or Pillow."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from semiseg.data import masks
from semiseg.data.classes import ClassMap
from semiseg.data.header import read_header
from semiseg.data.masks import read_image, read_mask
from semiseg.errors import DataError

CLASSES = ClassMap(("black", "red", "blue", "green"), ((0, 0, 0), (255, 0, 0), (0, 0, 255), (10, 200, 30)))
HEIGHT, WIDTH = 12, 17
ORIENTATION, FLIPS = 0x0112, 200
IDS = np.arange(HEIGHT * WIDTH, dtype=np.uint8).reshape(HEIGHT, WIDTH) % 4
FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP")

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
GREY = np.ascontiguousarray(RGB[..., 0])
ALPHA = RNG.integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8)
DEEP = RNG.integers(0, 2**16, (HEIGHT, WIDTH, 3), dtype=np.uint16)
SMOOTH = cv2.resize(RGB[:3, :4], (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)  # which a JPEG keeps nearly


def encoded(pixels: np.ndarray | Image.Image, kind: str, **options) -> bytes:
    """A file by Pillow."""
    stream = io.BytesIO()
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(stream, kind, **options)
    return stream.getvalue()


def deep(pixels: np.ndarray, suffix: str) -> bytes:
    """A file of 16 bits a channel, or of floats, from RGB, RGBA or grey pixels."""
    bgr = pixels[..., [2, 1, 0, *range(3, pixels.shape[2])]] if pixels.ndim == 3 else pixels
    return cv2.imencode(suffix, bgr)[1].tobytes()


def png(width: int, height: int, bits: int, color_type: int, rows: bytes) -> bytes:
    """A PNG written by hand: of any size in its header, whatever its rows hold."""
    parts = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, bits, color_type, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    chunks = [struct.pack(">I", len(b)) + n + b + struct.pack(">I", zlib.crc32(n + b)) for n, b in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def tiff(width: int, height: int) -> bytes:
    """A grey TIFF written by hand, of any size in its directory."""
    tags = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 273: 110, 277: 1, 278: height, 279: 16}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(20)


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


@pytest.fixture
def file(tmp_path: Path) -> Callable[[bytes], Path]:
    """A file of that content; its suffix says PNG, whatever it holds."""

    def write(content: bytes) -> Path:
        path = tmp_path / "any.png"
        path.write_bytes(content)
        return path

    return write


EXACT = {
    "PNG": encoded(RGB, "PNG"),
    "PNG with alpha": encoded(np.dstack([RGB, ALPHA]), "PNG"),
    "PNG turned by a camera": encoded(RGB, "PNG", exif=turned(6)),
    "BMP": encoded(RGB, "BMP"),
    "BMP with alpha": encoded(np.dstack([RGB, ALPHA]), "BMP"),
    "TIFF": encoded(RGB, "TIFF"),
    "TIFF, LZW": encoded(RGB, "TIFF", compression="tiff_lzw"),
    "BigTIFF": encoded(RGB, "TIFF", big_tiff=True),
    "TIFF with alpha": encoded(np.dstack([RGB, ALPHA]), "TIFF"),
    "WebP": encoded(RGB, "WEBP", lossless=True),
    "WebP with alpha": encoded(np.dstack([RGB, ALPHA]), "WEBP", lossless=True, exact=True),
    "WebP turned by a camera": encoded(RGB, "WEBP", lossless=True, exif=turned(3)),
}


@pytest.mark.parametrize("name", EXACT)
def test_an_image_without_loss_has_its_pixels(name: str, file: Callable[[bytes], Path]) -> None:
    image = read_image(file(EXACT[name]))
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, RGB)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "WEBP"])
def test_grey_becomes_three_equal_channels(kind: str, file: Callable[[bytes], Path]) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    np.testing.assert_array_equal(read_image(file(encoded(GREY, kind, **options))), np.dstack([GREY] * 3))


def test_grey_with_alpha_and_with_a_transparent_shade_too(file: Callable[[bytes], Path]) -> None:
    both = Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(ALPHA)])
    for content in (encoded(both, "PNG"), encoded(both, "TIFF"), encoded(GREY, "PNG", transparency=int(GREY[0, 0]))):
        np.testing.assert_array_equal(read_image(file(content)), np.dstack([GREY] * 3))


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_a_palette_gives_its_colours(kind: str, file: Callable[[bytes], Path]) -> None:
    packed = Image.fromarray(RGB).quantize(16)
    np.testing.assert_array_equal(read_image(file(encoded(packed, kind))), np.asarray(packed.convert("RGB")))


def test_one_bit_is_black_and_white(file: Callable[[bytes], Path]) -> None:
    drawn = GREY > 127
    for kind in ("PNG", "TIFF"):
        expected = np.dstack([drawn * np.uint8(255)] * 3)
        np.testing.assert_array_equal(read_image(file(encoded(Image.fromarray(drawn), kind))), expected)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bits_are_divided_by_257(suffix: str, channels: int, file: Callable[[bytes], Path]) -> None:
    pixels = np.dstack([DEEP, DEEP[..., :1]])[..., :channels]
    pixels[0, :3] = [[0], [65535], [257]]
    content = deep(pixels[..., 0] if channels == 1 else pixels, suffix)
    color = np.repeat(pixels, 3, axis=2) if channels == 1 else pixels[..., :3]
    expected = np.round(color.astype(np.float64) / 257).astype(np.uint8)
    assert expected[0, :3, 0].tolist() == [0, 255, 1]
    np.testing.assert_array_equal(read_image(file(content)), expected)


def test_a_jpeg_is_what_pillow_decodes(file: Callable[[bytes], Path]) -> None:
    picture = Image.fromarray(SMOOTH)
    for content in (
        encoded(picture, "JPEG", quality=95),
        encoded(picture, "JPEG", quality=95, progressive=True),
        encoded(picture.convert("L"), "JPEG", quality=95),
        encoded(picture.convert("CMYK"), "JPEG", quality=95),
        encoded(picture, "JPEG", quality=95, exif=turned(6)),
    ):
        expected = np.asarray(Image.open(io.BytesIO(content)).convert("RGB")).astype(int)
        image = read_image(file(content))
        assert image.shape == (HEIGHT, WIDTH, 3)
        assert np.abs(image.astype(int) - expected).max() <= 1  # two roundings of one colour conversion


def test_cmyk_has_the_colours_it_was_made_of(file: Callable[[bytes], Path]) -> None:
    image = read_image(file(encoded(Image.fromarray(SMOOTH).convert("CMYK"), "JPEG", quality=100, subsampling=0)))
    assert np.abs(image.astype(int) - SMOOTH).max() <= 8  # inverted ink would be far off


@pytest.mark.parametrize("orientation", [2, 3, 6, 8])
def test_an_orientation_noted_by_a_camera_never_moves_an_image_off_its_mask(tmp_path: Path, orientation: int) -> None:
    """The image of a mask, in which each class has a colour of its own: they must meet pixel by pixel."""
    colors = np.array(CLASSES.colors, dtype=np.uint8)
    mask = np.where(np.arange(WIDTH * 8) < 40, 1, 2) * np.ones((HEIGHT * 8, 1), dtype=int)
    mask[:24] = 3
    (tmp_path / "mask.png").write_bytes(encoded(mask.astype(np.uint8), "PNG"))
    for kind in ("JPEG", "PNG", "WEBP"):
        (tmp_path / "image.any").write_bytes(encoded(colors[mask], kind, exif=turned(orientation)))
        image, ids = read_image(tmp_path / "image.any"), read_mask(tmp_path / "mask.png", CLASSES)
        assert image.shape[:2] == ids.shape
        nearest = np.abs(image[..., None, :].astype(int) - colors).sum(axis=-1).argmin(axis=-1)
        assert (nearest == ids).mean() > 0.97  # but for the edges of a lossy picture


def test_a_tiff_stored_turned_is_refused(file: Callable[[bytes], Path]) -> None:
    """The decoder would turn it, the one of its mask would not."""
    for orientation in range(2, 9):
        path = file(encoded(RGB, "TIFF", tiffinfo={ORIENTATION: orientation}))
        with pytest.raises(DataError, match=r"any\.png.*turned"):
            read_image(path)
    np.testing.assert_array_equal(read_image(file(encoded(RGB, "TIFF", tiffinfo={ORIENTATION: 1}))), RGB)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16, np.int32])
def test_pixels_without_a_known_range_are_refused(dtype: type, file: Callable[[bytes], Path]) -> None:
    path = file(deep((RGB // 2).astype(dtype), ".tif"))
    with pytest.raises(DataError, match=rf"any\.png: pixels of {np.dtype(dtype)}.*8 or 16 bits"):
        read_image(path)
    with pytest.raises(DataError, match=r"any\.png"):
        read_mask(path, CLASSES)


@pytest.mark.parametrize("suffix", [".jpg", ".tif", ".bmp", ".PNG", ".webp"])
def test_the_content_decides_not_the_suffix(tmp_path: Path, suffix: str) -> None:
    for kind in ("PNG", "TIFF", "BMP"):
        path = tmp_path / f"a{suffix}"
        path.write_bytes(encoded(RGB, kind))
        np.testing.assert_array_equal(read_image(path), RGB)
        path.write_bytes(encoded(IDS, kind))
        np.testing.assert_array_equal(read_mask(path, CLASSES), IDS)


NO_IMAGE = {
    "nothing": b"",
    "text": b"this was never an image\n",
    "a web page": b"<html>404</html>",
    "zeros": bytes(4096),
    "a signature alone": b"\x89PNG\r\n\x1a\n",
    "a JPEG's first bytes": b"\xff\xd8\xff\xe0",
    "a JPEG without end of markers": b"\xff\xd8" + b"\xff" * 4096,
    "a TIFF that points nowhere": b"II*\0\xff\xff\xff\xff",
    "a TIFF that points at itself": b"II*\0\0\0\0\0",
    "a TIFF of a billion entries": b"II*\0\x08\0\0\0" + b"\xff" * 600,
    "a BMP without a body": b"BM" + bytes(40),
    "a WebP without a body": b"RIFF\x10\0\0\0WEBPVP8X",
    "a GIF": encoded(Image.fromarray(GREY), "GIF"),
    "an archive": b"PK\x03\x04" + bytes(100),
}


@pytest.mark.parametrize("name", NO_IMAGE)
def test_what_is_no_image_is_named(name: str, file: Callable[[bytes], Path]) -> None:
    path = file(NO_IMAGE[name])
    for read in (read_image, lambda path: read_mask(path, CLASSES)):
        with pytest.raises(DataError) as error:
            read(path)
        assert str(path) in str(error.value) and "data.on_error=skip" in str(error.value)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", FORMATS)
def test_a_cut_file_is_never_read_as_a_whole_one(kind: str, file: Callable[[bytes], Path]) -> None:
    """Either it is named, or only what does not matter was lost: then the pixels are right."""
    content = encoded(SMOOTH, kind)
    whole = read_image(file(content))
    refused = 0
    for length in np.linspace(1, len(content) - 1, 40).astype(int):
        path = file(content[:length])
        try:
            np.testing.assert_array_equal(read_image(path), whole)
        except DataError as error:
            assert str(path) in str(error)
            refused += 1
    assert refused >= 38


@pytest.mark.parametrize("kind", ["PNG", "PNG of a palette"])
def test_a_changed_bit_in_a_mask_is_never_read_in_silence(kind: str, file: Callable[[bytes], Path]) -> None:
    packed = Image.fromarray(IDS).convert("P")
    content = encoded(packed if "palette" in kind else IDS, "PNG")
    assert (read_header(content) or pytest.fail()).palette == ("palette" in kind)
    rng = np.random.default_rng(1)
    for _ in range(FLIPS):
        damaged = bytearray(content)
        damaged[rng.integers(len(damaged))] ^= 1 << rng.integers(8)
        try:
            mask = read_mask(file(bytes(damaged)), CLASSES)
        except DataError:
            continue
        np.testing.assert_array_equal(mask, IDS)


@pytest.mark.parametrize("kind", FORMATS)
def test_damage_anywhere_is_an_error_of_ours(kind: str, file: Callable[[bytes], Path]) -> None:
    """A JPEG has no checksums: damage in its middle changes pixels. But nothing raises what is not a DataError."""
    content = encoded(SMOOTH, kind)
    rng = np.random.default_rng(2)
    for _ in range(FLIPS // 2):
        damaged = bytearray(content)
        for place in rng.integers(len(damaged), size=3):
            damaged[place] = rng.integers(256)
        try:
            image = read_image(file(bytes(damaged)))
        except DataError:
            continue
        assert image.ndim == 3 and image.dtype == np.uint8


BOMBS = {
    "PNG": png(60000, 60000, 8, 2, bytes(1000)),
    "PNG of one bit": png(60000, 60000, 1, 0, bytes(1000)),
    "PNG of a palette": png(60000, 60000, 8, 3, bytes(1000)),
    "JPEG": encoded(SMOOTH, "JPEG").replace(struct.pack(">HH", HEIGHT, WIDTH), struct.pack(">HH", 60000, 60000)),
    "TIFF": tiff(60000, 60000),
    "BMP": encoded(RGB, "BMP").replace(struct.pack("<ii", WIDTH, HEIGHT), struct.pack("<ii", 60000, 60000)),
}


@pytest.fixture
def no_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail where pixels would be decoded."""

    def refuse(*_: object, **__: object) -> None:
        pytest.fail("the image was decoded")

    monkeypatch.setattr(cv2, "imdecode", refuse)
    monkeypatch.setattr(Image, "open", refuse)


@pytest.mark.parametrize("name", BOMBS)
def test_a_decompression_bomb_is_refused_before_it_is_decoded(
    name: str, file: Callable[[bytes], Path], no_decoding: None
) -> None:
    path = file(BOMBS[name])
    for read in (read_image, lambda path: read_mask(path, CLASSES)):
        with pytest.raises(DataError, match=r"any\.png says it has 60,000x60,000 pixels"):
            read(path)


def test_the_limit_lets_mosaics_of_drones_through() -> None:
    assert 20_000**2 <= masks.MAX_PIXELS < 30_000**2


def test_pillow_neither_warns_of_nor_refuses_what_our_limit_lets_through() -> None:
    """It would warn from 89 million pixels on, and refuse from 179."""
    assert Image.MAX_IMAGE_PIXELS is None


@pytest.mark.parametrize("kind", FORMATS)
def test_the_size_in_the_header_is_that_of_the_pixels(kind: str) -> None:
    for height, width in ((1, 1), (1, 300), (300, 1), (257, 65)):
        header = read_header(encoded(np.zeros((height, width, 3), dtype=np.uint8), kind))
        assert header is not None
        assert (header.kind, header.height, header.width) == (kind.lower(), height, width)


def test_a_large_profile_before_the_frame_of_a_jpeg_is_passed_over() -> None:
    header = read_header(encoded(SMOOTH, "JPEG", icc_profile=bytes(200_000), comment=b"\xff\xc0" * 99, exif=turned(6)))
    assert header is not None and (header.height, header.width) == (HEIGHT, WIDTH)


MASKS = {
    "ids": encoded(IDS, "PNG"),
    "ids of 16 bits": deep(IDS.astype(np.uint16), ".png"),
    "ids of 16 bits in a TIFF": deep(IDS.astype(np.uint16), ".tif"),
    "ids with alpha": encoded(Image.merge("LA", [Image.fromarray(IDS), Image.fromarray(ALPHA)]), "PNG"),
    "ids in three channels with alpha": encoded(np.dstack([IDS, IDS, IDS, ALPHA]), "PNG"),
    "colours": encoded(np.array(CLASSES.colors, dtype=np.uint8)[IDS], "PNG"),
    "colours with alpha": encoded(np.dstack([np.array(CLASSES.colors, dtype=np.uint8)[IDS], ALPHA]), "PNG"),
    "colours with alpha in a TIFF": encoded(np.dstack([np.array(CLASSES.colors, dtype=np.uint8)[IDS], ALPHA]), "TIFF"),
    "colours in a BMP": encoded(np.array(CLASSES.colors, dtype=np.uint8)[IDS], "BMP"),
}


@pytest.mark.parametrize("name", MASKS)
def test_every_form_of_a_mask_gives_the_same_ids(name: str, file: Callable[[bytes], Path]) -> None:
    mask = read_mask(file(MASKS[name]), CLASSES)
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask, IDS)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("transparent", [False, True])
def test_a_palette_mask_gives_its_indices(kind: str, transparent: bool, file: Callable[[bytes], Path]) -> None:
    packed = Image.frombytes("P", (WIDTH, HEIGHT), IDS.tobytes())
    packed.putpalette([value for number in range(256) for value in (number, 90, 255 - number)])
    options = {"transparency": 0} if transparent and kind == "PNG" else {}
    np.testing.assert_array_equal(read_mask(file(encoded(packed, kind, **options)), CLASSES), IDS)


def test_one_pixel_of_an_unknown_value_is_never_a_class(file: Callable[[bytes], Path]) -> None:
    strange, deep_strange = IDS.copy(), IDS.astype(np.uint16)
    strange[5, 7], deep_strange[5, 7] = 9, 256 + 1  # whose lower byte is the id of a class
    color = np.array(CLASSES.colors, dtype=np.uint8)[IDS]
    color[5, 7] = (254, 0, 0)
    for content, value in (
        (encoded(strange, "PNG"), "class id 9"),
        (deep(deep_strange, ".png"), "class id 257"),
        (encoded(color, "PNG"), "colour (254 0 0)"),
    ):
        path = file(content)
        with pytest.raises(DataError) as error:
            read_mask(path, CLASSES)
        assert str(path) in str(error.value) and value in str(error.value)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_a_mask_of_few_bits_is_not_guessed_at(bits: int, file: Callable[[bytes], Path]) -> None:
    """Its 1 may be the id 1, or the white that is ignored; decoders stretch it to 255, 85 or 17."""
    samples = 8 // bits
    with pytest.raises(DataError, match=rf"any\.png: a mask of {bits} bits"):
        read_mask(file(png(samples, 1, bits, 0, b"\0\x01")), CLASSES)
    assert not read_mask(file(png(samples, 1, bits, 0, b"\0\0")), CLASSES).any()
    drawn = ClassMap(("ground", "building"), ((0, 0, 0), (255, 255, 255)))
    expected = [0] * (samples - 1) + [1]
    content = png(samples, 1, bits, 0, bytes([0, 2**bits - 1]))
    assert read_mask(file(content), drawn).tolist() == [expected]


def test_a_jpeg_of_ids_is_refused_unless_it_shows_one_class(file: Callable[[bytes], Path]) -> None:
    with pytest.raises(DataError, match=r"any\.png: a JPEG blurs class ids"):
        read_mask(file(encoded(IDS, "JPEG", quality=95)), CLASSES)
    assert (read_mask(file(encoded(np.full_like(IDS, 2), "JPEG")), CLASSES) == 2).all()


NAMES = ("kebun salak čšž", "目标", "صورة", "🌴", "a'b\"c", "[red]x[-red]", "x" * 200, "-rf", "%s{0}$HOME")


@pytest.mark.parametrize("name", NAMES)
def test_names_of_any_script(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    try:
        folder.mkdir()
        (folder / f"{name}.png").write_bytes(encoded(RGB, "PNG"))
    except OSError as error:
        pytest.skip(f"this file system does not take the name: {error}")
    np.testing.assert_array_equal(read_image(folder / f"{name}.png"), RGB)


def test_a_path_of_more_than_260_characters(tmp_path: Path) -> None:
    folder = tmp_path.joinpath(*["a-rather-long-name-of-a-flight-over-the-plantation"] * 8)
    try:
        folder.mkdir(parents=True)
        (folder / "a.png").write_bytes(encoded(RGB, "PNG"))
    except OSError as error:
        pytest.skip(f"long paths are switched off: {error}")
    assert len(str(folder)) > 260
    np.testing.assert_array_equal(read_image(folder / "a.png"), RGB)


def test_what_is_no_regular_file_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    paths = [tmp_path / "folder.png", tmp_path / "missing.png"]
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe.png")
        paths.append(tmp_path / "pipe.png")
    for path in paths:
        with pytest.raises(DataError, match=rf"{path.name} cannot be read"):
            read_image(path)


def test_a_file_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "locked.png"
    path.write_bytes(encoded(RGB, "PNG"))
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read every file")
    with pytest.raises(DataError, match=r"locked\.png cannot be read: Permission denied"):
        read_image(path)


def test_a_file_larger_than_any_image_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "huge.png"
    path.write_bytes(encoded(RGB, "PNG"))
    monkeypatch.setattr(masks, "MAX_BYTES", 100)
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail("the file was read"))
    with pytest.raises(DataError, match=r"huge\.png cannot be read: it has [\d,]+ bytes"):
        read_image(path)


def test_geotiffs_are_not_warned_of_at_each_reading(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """OpenCV does not know the tags that say where on Earth a GeoTIFF lies."""
    place = {33550: (0.1, 0.1, 0.0), 33922: (0.0,) * 6, 42113: "-9999"}
    (tmp_path / "geo.tif").write_bytes(encoded(RGB, "TIFF", tiffinfo=place))
    np.testing.assert_array_equal(read_image(tmp_path / "geo.tif"), RGB)
    assert capfd.readouterr().err == ""
