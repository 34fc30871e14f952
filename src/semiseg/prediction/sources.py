"""From a file to an image that can be predicted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from semiseg.prediction.images import Picture, Source
from semiseg.prediction.raster import Raster

RASTER_SUFFIXES = (".tif", ".tiff", ".vrt", ".jp2", ".img")


def open_source(path: Path, stretch: Sequence[float] | None = None) -> Source:
    """The image of a file. Raises DataError for one that cannot be read, or not with a `stretch`."""
    return Raster(path, stretch) if is_raster(path) else Picture.of(path, stretch)


def is_raster(path: Path) -> bool:
    """Whether a file is read by windows and predicted to GeoTIFF, by its suffix."""
    return path.suffix.lower() in RASTER_SUFFIXES
