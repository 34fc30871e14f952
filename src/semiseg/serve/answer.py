"""From an uploaded file to what the page shows of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from rich.console import Console as Terminal

from semiseg.data.header import PARSERS
from semiseg.errors import DataError, SemisegError
from semiseg.files import move_over
from semiseg.prediction import predict_files
from semiseg.prediction.inputs import Item
from semiseg.prediction.options import PredictConfig
from semiseg.prediction.outputs import OVERLAY_SIDE, fitted, write_png
from semiseg.prediction.record import Entry
from semiseg.prediction.sources import open_source
from semiseg.trained import System

LONGEST_START = max(map(len, PARSERS))  # bytes that tell a format
FOR_DATA_SETS = re.compile(r" \(data\.on_error=skip[^)]*\)")  # a remedy that the page does not have


@dataclass(frozen=True)
class Answer:
    """The pictures of an image and the files to download, all below one folder."""

    entry: Entry
    remarks: list[str]  # what is odd about the image
    picture: Path
    overlay: Path
    downloads: list[Path]


def answer(system: System, upload: Path, folder: Path, cfg: PredictConfig) -> Answer:
    """Predict an uploaded file as `semiseg predict` does, a raster window by window, with all files in `folder`.

    Raises SemisegError, in words for the reader of the page, for a file that cannot be predicted.
    """
    try:
        check_format(upload)
        georeferenced = draw_picture(upload, folder / "picture.png", cfg)
        cfg.outputs = ["classes", "overlay", "areas", *(["polygons"] if georeferenced else [])]
        done = predict_files(system, [Item(upload.stem, upload)], cfg, Terminal(quiet=True))
        entries = list(done.record.newest())
        if not entries:
            done.conclude()
    except SemisegError as error:
        raise SemisegError(for_readers(error, upload)) from error
    downloads = renamed(upload.stem, Path(cfg.out))
    overlay = next(path for path in downloads if path.stem.endswith("-overlay"))
    return Answer(entries[0], done.first_remarks, folder / "picture.png", overlay, downloads)


def check_format(upload: Path) -> None:
    """Raises DataError unless a file begins as an image does.

    GDAL tells formats by their content and would open a text that names other files of this machine, or addresses.
    """
    with upload.open("rb") as file:
        if not file.read(LONGEST_START).startswith(tuple(PARSERS)):
            raise DataError(f"{upload} is no image: give a GeoTIFF, PNG, JPEG, BMP or WebP.")


def draw_picture(upload: Path, path: Path, cfg: PredictConfig) -> bool:
    """Write the image as browsers show it; whether it has a place on Earth."""
    source = open_source(upload, cfg.stretch)
    try:
        size = fitted(source.height, source.width, OVERLAY_SIDE)
        write_png(path, Image.fromarray(source.thumbnail(*size)))
        return source.place is not None and source.place.crs is not None
    finally:
        source.close()


def renamed(stem: str, out: Path) -> list[Path]:
    """The files of a prediction, each with its kind in its name: browsers save them side by side."""
    found = [out / "areas.csv"]
    found += [path for kind in ("classes", "overlay", "polygons") for path in sorted((out / kind).glob("*"))]
    moved = []
    for path in found:
        kind = "areas" if path.parent == out else path.parent.name
        moved.append(out / f"{stem}-{kind}{path.suffix}")
        move_over(path, moved[-1])
    return moved


def for_readers(error: SemisegError, upload: Path) -> str:
    """The message with the name of the file as it was dropped, and without remedies for data sets."""
    return FOR_DATA_SETS.sub("", str(error).replace(str(upload), upload.name))
