"""Predicted patches back to maps of their base images."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semiseg.contracts import IGNORE_INDEX
from semiseg.data.classes import ClassMap, read_class_mapping
from semiseg.data.masks import read_mask
from semiseg.errors import DataError
from semiseg.patchify.cut import BaseImage
from semiseg.patchify.grid import Spot, shares, starts
from semiseg.prediction.outputs import palette_of, write_picture, write_raster
from semiseg.prediction.place import Place, geo
from semiseg.prediction.planes import CLASSES, Part

UInt8 = NDArray[np.uint8]
SOURCES = "sources.json"


def assemble(predictions: Path, patches: Path, out: Path) -> list[Path]:
    """One class map for each base image of which a patch is predicted, in its place on Earth.

    `predictions` is a folder of class maps (`classes/` of `semiseg predict`), searched with all below it; `patches` the
    folder that `semiseg patchify` wrote. Overlaps are cut in the middle; missing patches are no data. Raises DataError
    for folders without either.
    """
    cut, images = read_sources(patches)
    classes = read_class_mapping(patches / "class_mapping.csv")
    files = {spot: path for path in sorted(predictions.rglob("*.png")) if (spot := Spot.of(path.stem)) is not None}
    predicted = {spot.source for spot in files}
    found = [image for image in images if image.source in predicted]
    if not found:
        raise DataError(
            f"{predictions} holds no predicted patch of the {len(images)} base images of {patches}. Give the folder "
            "classes/ that semiseg predict wrote."
        )
    return [assemble_image(image, cut["size"], cut["stride"], files, classes, out) for image in found]


def assemble_image(
    image: BaseImage, size: int, stride: int, files: Mapping[Spot, Path], classes: ClassMap, out: Path
) -> Path:
    """Put the patches of one base image together, a row of them in memory at a time."""
    path = out / f"{image.source}{'.tif' if image.raster else '.png'}"
    planes = Part(out / f"unfinished-{image.source}.part", image.height, image.width, key="")
    planes.rows = 0
    rows, columns = (
        list(zip(starts(side, size, stride), shares(side, size, stride), strict=True))
        for side in (image.height, image.width)
    )
    for top, (first, last) in rows:
        strip = np.full((2, last - first, image.width), IGNORE_INDEX, dtype=np.uint8)
        for left, (begin, end) in columns:
            file = files.get(Spot(image.source, top, left))
            if file is not None:
                ids = read_ids(file, classes, min(size, image.height), min(size, image.width))
                strip[CLASSES, :, begin:end] = ids[first - top : last - top, begin - left : end - left]
        planes.write(first, strip)
    save = write_raster if image.raster else write_picture
    save(path, planes, CLASSES, place_of(image), palette_of(classes))
    planes.remove()
    return path


def read_ids(path: Path, classes: ClassMap, height: int, width: int) -> UInt8:
    """A predicted patch. Raises DataError for one of another size."""
    ids = read_mask(path, classes)
    if ids.shape != (height, width):
        raise DataError(
            f"{path} has {ids.shape[1]}x{ids.shape[0]} pixels, the patch {width}x{height}. Predict it again."
        )
    return ids


def place_of(image: BaseImage) -> Place | None:
    if image.transform is None:
        return None
    crs = None if image.crs is None else geo().crs.CRS.from_wkt(image.crs)
    return Place(crs, geo().Affine(*image.transform))


def read_sources(patches: Path) -> tuple[dict[str, int], list[BaseImage]]:
    """How a folder of patches was cut, and from what."""
    file = patches / SOURCES
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        return stored["cut"], [BaseImage(**image) for image in stored["sources"]]
    except FileNotFoundError:
        raise DataError(
            f"{file} does not exist. Give the folder that semiseg patchify wrote with patches=PATH."
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file} is damaged: {error}. Cut the patches again.") from error
