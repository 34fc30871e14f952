"""An image to predict, of whatever kind, and pictures held in memory."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from semiseg.data.header import header_of
from semiseg.data.masks import read_image
from semiseg.errors import DataError
from semiseg.prediction.place import Place

UInt8 = NDArray[np.uint8]
Flags = NDArray[np.bool_]

PNG_COLOR_TYPE, PNG_WITH_ALPHA = 25, (4, 6)


class Source(ABC):
    """An image of `height` x `width` pixels. `read` may be called from several threads."""

    height: int
    width: int
    place: Place | None = None  # None: pixels only

    def __init__(self) -> None:
        self.problems: list[str] = []  # blocks that cannot be read, one sentence each
        self.remarks: dict[str, str] = {}  # what its owner should know although it is read: a kind and a sentence

    @abstractmethod
    def read(self, top: int, left: int, height: int, width: int) -> tuple[UInt8, Flags | None]:
        """RGB [h, w, 3] and where there is data [h, w], None for everywhere."""

    @abstractmethod
    def thumbnail(self, height: int, width: int) -> UInt8:
        """The whole image at another size, RGB [h, w, 3]."""

    def close(self) -> None:  # noqa: B027, most have nothing to close
        """Release the file."""


class Picture(Source):
    """An image in memory, RGB [H, W, 3]; `valid` [H, W] is false where it is transparent."""

    def __init__(self, image: UInt8, valid: Flags | None = None) -> None:
        super().__init__()
        self.image, self.valid = image, valid
        self.height, self.width = image.shape[:2]

    def read(self, top: int, left: int, height: int, width: int) -> tuple[UInt8, Flags | None]:
        window = np.s_[top : top + height, left : left + width]
        return self.image[window], None if self.valid is None else self.valid[window]

    def thumbnail(self, height: int, width: int) -> UInt8:
        if (height, width) == self.image.shape[:2]:
            return self.image
        return np.asarray(cv2.resize(self.image, (width, height), interpolation=cv2.INTER_AREA), dtype=np.uint8)

    @classmethod
    def of(cls, path: Path, stretch: Sequence[float] | None = None) -> Picture:
        """Raises DataError for a file that cannot be decoded, and for 16 bits where `stretch` names their range."""
        if stretch is not None and (header := header_of(path)) is not None and header.bits > 8:
            raise DataError(f"{path} has {header.bits} bits, and stretch= is for rasters alone: save it as TIFF.")
        return cls(read_image(path), transparency(path))


def transparency(path: Path) -> Flags | None:
    """Where a PNG with an alpha channel shows anything; None for every other picture."""
    if path.suffix.lower() != ".png":
        return None
    with path.open("rb") as file:
        if file.read(PNG_COLOR_TYPE + 1)[-1] not in PNG_WITH_ALPHA:
            return None
    data = path.read_bytes()
    pixels = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.ndim < 3 or pixels.shape[2] < 4 or pixels[..., 3].all():
        return None
    return pixels[..., 3] > 0
