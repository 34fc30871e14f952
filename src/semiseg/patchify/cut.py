"""Base images to patches in the layout that `data=salak` reads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from semiseg.contracts import IGNORE_INDEX
from semiseg.errors import DataError
from semiseg.files import write_bytes
from semiseg.patchify.grid import SEPARATOR, Spot, spots
from semiseg.patchify.labels import Labels
from semiseg.prediction.images import Source
from semiseg.prediction.inputs import Item
from semiseg.prediction.sources import is_raster

FOLDER = "patches-1"  # the layout looks for folders with a hyphen
CHUNK = 256  # patches handed to the threads at once


@dataclass(frozen=True)
class BaseImage:
    """A base image as sources.json has it, to put its patches together again."""

    source: str
    file: str
    height: int
    width: int
    raster: bool
    crs: str | None = None  # WKT
    transform: list[float] | None = None  # the six numbers of its affine transform

    @classmethod
    def of(cls, name: str, item: Item, source: Source) -> BaseImage:
        crs = transform = None
        if source.place is not None:
            crs = None if source.place.crs is None else source.place.crs.to_wkt()
            transform = list(source.place.transform)[:6]
        return cls(name, str(item.path), source.height, source.width, is_raster(item.path), crs, transform)

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


@dataclass
class Counts:
    """Patches written, those of them with a mask, and those left out because they show no data at all."""

    written: int = 0
    labeled: int = 0
    empty: int = 0


@dataclass(frozen=True)
class Cutter:
    """Cuts one base image after the other into `root`; a mask is written where enough of a patch is labelled."""

    root: Path
    size: int
    stride: int
    min_labeled: float
    threads: int

    def cut(self, name: str, source: Source, labels: Labels | None) -> Counts:
        """Write the patches of a base image: all, or none where it ends in an error.

        Raises DataError where a part of the image or its truth cannot be read.
        """
        places = list(spots(name, source.height, source.width, self.size, self.stride))
        try:
            return self._cut(name, source, labels, places)
        except BaseException:  # Ctrl-C too
            for spot in places:
                for kind in ("images", "masks"):
                    self._path(kind, spot).unlink(missing_ok=True)
            raise

    def _cut(self, name: str, source: Source, labels: Labels | None, places: list[Spot]) -> Counts:
        counts = Counts()
        with ThreadPoolExecutor(self.threads) as pool:  # decoding and encoding release the GIL
            for start in range(0, len(places), CHUNK):
                for written, labeled in pool.map(
                    lambda spot: self._write(spot, source, labels), places[start : start + CHUNK]
                ):
                    counts.written += written
                    counts.labeled += labeled
                    counts.empty += not written
        if source.problems:
            raise DataError(f"{name}: {source.problems[0]}. Restore the file; no patch of it is kept.")
        return counts

    def _write(self, spot: Spot, source: Source, labels: Labels | None) -> tuple[bool, bool]:
        """Whether an image and whether a mask was written."""
        height, width = min(self.size, source.height), min(self.size, source.width)
        window = (spot.top, spot.left, height, width)
        image, valid = source.read(*window)
        if valid is not None and not valid.any():
            return False, False
        write_picture(self._path("images", spot), image[..., ::-1])
        if labels is None:
            return True, False
        mask = labels.read(*window)
        if valid is not None:
            mask = np.where(valid, mask, np.uint8(IGNORE_INDEX))
        labeled = float((mask != IGNORE_INDEX).mean())
        if labeled == 0 or labeled < self.min_labeled:
            return True, False
        write_picture(self._path("masks", spot), mask)
        return True, True

    def _path(self, kind: str, spot: Spot) -> Path:
        return self.root / FOLDER / kind / f"{spot.name}.png"


def write_picture(path: Path, pixels: NDArray[np.uint8]) -> None:
    """A PNG of BGR [h, w, 3] or ids [h, w]. Encoded in memory: OpenCV cannot open Unicode paths on Windows."""
    _, data = cv2.imencode(".png", np.ascontiguousarray(pixels))
    write_bytes(path, data.tobytes())


def source_name(item: Item) -> str:
    """The name of a base image in those of its patches: folders become part of it.

    Raises DataError where it would be cut at another place than its end.
    """
    name = item.name.replace("/", "_")
    if SEPARATOR in name:
        raise DataError(f"{item.path}: {SEPARATOR!r} in the name of a base image marks a patch. Rename the file.")
    return name
