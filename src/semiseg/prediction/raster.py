"""Rasters of any size, read window by window."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semiseg.errors import ConfigError, DataError
from semiseg.prediction.images import Flags, Source, UInt8
from semiseg.prediction.place import Place, geo

SAMPLE, SAMPLES = 64, 4  # pixels a side of a window, and windows along each side, that tell how bright a raster is
DARK = "values that are nearly black without stretch=[LOW,HIGH]"
NO_TRANSFORM = "a CRS but no transform"


class Raster(Source):
    """A raster that rasterio opens, read window by window.

    - Red, green and blue are the bands that say so, else the first three; a raster of one or two is grey.
    - 16 bits become 8 as in training, by dividing by 257, and other whole numbers of up to 16 bits (NBITS) likewise.
      `stretch` (low, high) maps that range to 0 to 255 instead, and is needed for types whose range nobody knows.
    - Values that use but the darkest eighth of 16 bits are remarked on: they were meant for another range.
    - A CRS without a transform or control points is remarked on and is no place: every raster would lie at 0, 0.
    - Where the raster has nodata, a mask, or full transparency in an alpha band, it has no data.
    - A block that cannot be read has no data either, and is named in `problems`.

    Raises DataError for a file that cannot be opened or has pixels without a known range.
    """

    def __init__(self, path: Path, stretch: Sequence[float] | None = None) -> None:
        super().__init__()
        self.path, self.stretch = path, stretch
        self._local, self._opened, self._lock = threading.local(), [], threading.Lock()
        dataset = self._dataset()
        self.height, self.width = dataset.height, dataset.width
        self.place = self._place(dataset)
        self.bands = color_bands(dataset)
        self.palette = _palette(dataset) if len(self.bands) == 1 else None
        self._check_type(dataset.dtypes[self.bands[0] - 1])
        self.bits = max(bits_of(dataset, band) for band in self.bands)
        if self.bits > 8 and self.palette is None and stretch is None:
            self._check_range(dataset)

    def _place(self, dataset: Any) -> Place:
        gcps, gcps_crs = dataset.gcps
        if gcps:
            return Place(dataset.crs or gcps_crs, geo().transform.from_gcps(gcps), tuple(gcps))
        if dataset.crs and dataset.transform == geo().Affine.identity():
            self.remarks[NO_TRANSFORM] = "it has a CRS but neither a transform nor control points: pixels are counted."
            return Place(None, dataset.transform)
        return Place(dataset.crs, dataset.transform)

    def read(self, top: int, left: int, height: int, width: int) -> tuple[UInt8, Flags | None]:
        try:
            image, valid = self._read_window(top, left, height, width)
        except geo().errors.RasterioError:
            image, valid = self._read_blocks(top, left, height, width)
        except DataError:
            self._note("it could not be opened again while it was predicted")
            image, valid = np.zeros((height, width, 3), dtype=np.uint8), np.zeros((height, width), dtype=np.bool_)
        image[~valid] = 0
        return image, None if valid.all() else valid

    def _read_window(self, top: int, left: int, height: int, width: int) -> tuple[UInt8, Flags]:
        dataset, window = self._dataset(), geo().windows.Window(left, top, width, height)
        pixels = dataset.read(self.bands, window=window)
        return self._to_rgb(pixels), dataset.dataset_mask(window=window) > 0

    def _read_blocks(self, top: int, left: int, height: int, width: int) -> tuple[UInt8, Flags]:
        """A window block by block, so that a corrupt one takes nothing with it."""
        image = np.zeros((height, width, 3), dtype=np.uint8)
        valid = np.zeros((height, width), dtype=np.bool_)
        tall, wide = self._dataset().block_shapes[0]
        for row in range(top // tall * tall, top + height, tall):
            for column in range(left // wide * wide, left + width, wide):
                first, begin = max(row, top), max(column, left)
                last, end = min(row + tall, top + height), min(column + wide, left + width)
                here = np.s_[first - top : last - top, begin - left : end - left]
                try:
                    image[here], valid[here] = self._read_window(first, begin, last - first, end - begin)
                except geo().errors.RasterioError:
                    self._note(f"the block of {tall}x{wide} pixels at row {row:,}, column {column:,} cannot be read")
        return image, valid

    def thumbnail(self, height: int, width: int) -> UInt8:
        rasterio = geo()
        shape = (len(self.bands), height, width)
        way = rasterio.enums.Resampling.nearest if self.palette is not None else rasterio.enums.Resampling.average
        try:
            return self._to_rgb(self._dataset().read(self.bands, out_shape=shape, resampling=way))
        except (rasterio.errors.RasterioError, DataError):  # of the blocks that `read` named
            return np.full((height, width, 3), 128, dtype=np.uint8)

    def close(self) -> None:
        with self._lock:
            for dataset in self._opened:
                dataset.close()
            self._opened.clear()
            self._local = threading.local()

    def _dataset(self) -> Any:
        """This thread's own handle: GDAL's are not to be shared."""
        if not hasattr(self._local, "dataset"):
            rasterio = geo()
            try:
                dataset = rasterio.open(self.path)
            except (rasterio.errors.RasterioError, OSError) as error:
                raise DataError(f"{self.path} cannot be opened: {_one_line(error)}. Restore or remove it.") from error
            with self._lock:
                self._opened.append(dataset)
            self._local.dataset = dataset
        return self._local.dataset

    def _check_type(self, dtype: str) -> None:
        if self.palette is None and self.stretch is None and dtype not in ("uint8", "uint16"):
            self.close()
            raise DataError(
                f"{self.path}: pixels of {dtype} have no known range. Name the values that are black and white with "
                "stretch=[LOW,HIGH]."
            )

    def _check_range(self, dataset: Any) -> None:
        """Remark on values that would all become nearly black."""
        white = 2**self.bits - 1
        brightest = _brightest(dataset, self.bands)
        if brightest and brightest < white / 8:
            meant = 2 ** brightest.bit_length() - 1
            self.remarks[DARK] = (
                f"the brightest value found in samples is {brightest:,}, and white would be {white:,}: the network "
                f"sees it nearly black. Name what is black and white, such as stretch=[0,{meant}]."
            )

    def _to_rgb(self, pixels: NDArray[Any]) -> UInt8:
        """[bands, h, w] -> RGB [h, w, 3]."""
        if self.palette is not None:
            return self.palette[np.clip(pixels[0], 0, 255).astype(np.uint8)]
        image = np.ascontiguousarray(np.moveaxis(to_eight_bits(pixels, self.stretch, self.bits), 0, -1))
        return np.repeat(image, 3, axis=-1) if len(self.bands) == 1 else image

    def _note(self, problem: str) -> None:
        with self._lock:
            if problem not in self.problems:
                self.problems.append(problem)


def to_eight_bits(pixels: NDArray[Any], stretch: Sequence[float] | None, bits: int) -> UInt8:
    """Pixels of any type as 0 to 255: by the range `stretch`, else by that of `bits` bits, rounded."""
    if stretch is not None:
        low, high = stretch
        scaled = (pixels.astype(np.float32) - low) * (255 / (high - low))
        return np.nan_to_num(scaled, nan=0.0).clip(0, 255).round().astype(np.uint8)
    if bits == 8:
        return np.asarray(pixels, dtype=np.uint8)
    white = 2**bits - 1
    return ((pixels.astype(np.uint32) * 255 + white // 2) // white).clip(max=255).astype(np.uint8)


def bits_of(dataset: Any, band: int) -> int:
    """Bits of the values of a band, which may be fewer than those of its type: a TIFF of 12 bits is read as 16."""
    stored = dataset.tags(band, ns="IMAGE_STRUCTURE").get("NBITS")
    return int(stored) if stored else 8 * np.dtype(dataset.dtypes[band - 1]).itemsize


def _brightest(dataset: Any, bands: list[int]) -> int | None:
    """The highest value in small windows all over a raster; None where they hold no data."""
    tall, wide = (min(side, SAMPLE) for side in dataset.shape)
    tops, lefts = (
        sorted({round(share * (side - length)) for share in np.linspace(0, 1, SAMPLES).tolist()})
        for side, length in zip(dataset.shape, (tall, wide), strict=True)
    )
    found = []
    for top, left in product(tops, lefts):
        try:
            values = dataset.read(bands, window=geo().windows.Window(left, top, wide, tall), masked=True)
        except geo().errors.RasterioError:  # of blocks that `read` will name
            continue
        found += [int(values.max())] if values.count() else []
    return max(found, default=None)


def color_bands(dataset: Any) -> list[int]:
    """Numbers of the bands to read: red, green and blue, or one that is grey."""
    named = {color.name: number for number, color in enumerate(dataset.colorinterp, start=1)}
    if {"red", "green", "blue"} <= named.keys():
        return [named["red"], named["green"], named["blue"]]
    colors = [number for number in range(1, dataset.count + 1) if number != named.get("alpha")]
    return colors[:3] if len(colors) >= 3 else colors[:1]


def _palette(dataset: Any) -> UInt8 | None:
    """[256, 3] the colours of a raster whose pixels are indices."""
    if dataset.colorinterp[0].name != "palette":
        return None
    table = np.zeros((256, 3), dtype=np.uint8)
    for index, color in dataset.colormap(1).items():
        if index < 256:
            table[index] = color[:3]
    return table


def check_stretch(stretch: Any) -> None:
    """Raises ConfigError unless it is null or two rising values."""
    if stretch is None:
        return
    numbers = isinstance(stretch, list) and len(stretch) == 2 and all(isinstance(v, int | float) for v in stretch)
    if not numbers or not stretch[0] < stretch[1]:
        raise ConfigError(f"stretch={stretch}: give two values, what is black and what is white, such as [0,4095].")


def _one_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
