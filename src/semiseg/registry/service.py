"""A registered model as MLflow serves it: encoded images in, class maps, shares and confidence out."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.pyfunc import PythonModel, PythonModelContext
from mlflow.types import ColSpec, DataType, Schema
from mlflow.types.schema import Map

from semiseg.contracts import IGNORE_INDEX
from semiseg.data.header import read_header
from semiseg.engine.device import pick_device
from semiseg.errors import DataError
from semiseg.prediction import predict_sources
from semiseg.prediction.images import Picture
from semiseg.prediction.outputs import palette_of, write_picture
from semiseg.prediction.planes import CLASSES, CONFIDENCE, Held
from semiseg.trained import Trained, load_trained

MAX_PIXELS = 2**26  # of the images of a request together, 8,192 x 8,192: about half a gigabyte of memory

SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec(DataType.string, "image")]),
    outputs=Schema(
        [
            ColSpec(DataType.string, "class_map"),
            ColSpec(Map(DataType.double), "shares"),
            ColSpec(DataType.double, "confidence"),
        ]
    ),
)


class SegmentationService(PythonModel):
    """Predicts a table with the column `image`: PNG, JPEG, TIFF, BMP or WebP files in base64.

    A row answers with `class_map` (a PNG of class ids with the classes' colours as its palette, in base64), `shares`
    (of each class in the pixels that are not transparent) and `confidence` (the mean over these of the highest
    probability, from whole percent).
    """

    def load_context(self, context: PythonModelContext) -> None:
        self.trained = load_trained(context.artifacts["run"], pick_device("auto"))

    def predict(  # pyright: ignore[reportIncompatibleMethodOverride], which MLflow declares to return nothing
        self, context: PythonModelContext, model_input: pd.DataFrame, params: Any = None
    ) -> pd.DataFrame:
        """Raises MlflowException, which a client gets as status 400, for what is no image or too large."""
        images = [decode(number, text) for number, text in enumerate(model_input["image"], start=1)]
        check_images(images)
        with tempfile.TemporaryDirectory() as folder:
            return pd.DataFrame(self.answers(images, Path(folder)))

    def answers(self, images: Sequence[bytes], folder: Path) -> list[dict[str, Any]]:
        sources = [read(number, image, folder) for number, image in enumerate(images, start=1)]
        predicted = predict_sources(self.trained, sources)
        return [answer(self.trained, planes, folder / "answer.png") for planes in predicted]


def decode(number: int, text: object) -> bytes:
    """The bytes of a file. MLflow would decode a column of binary data itself, and say no more than "padding"."""
    try:
        return base64.b64decode("".join(str(text).split()), validate=True)
    except ValueError:
        refuse(f"image {number} of the request is not base64")


def check_images(images: Sequence[bytes]) -> None:
    """Look at the headers before anything is decoded: a small file can claim any size."""
    pixels = 0
    for number, image in enumerate(images, start=1):
        header = read_header(image)
        if header is None:
            refuse(f"image {number} of the request is no PNG, JPEG, TIFF, BMP or WebP")
        pixels += header.width * header.height
    if pixels > MAX_PIXELS:
        refuse(
            f"the request has {pixels:,} pixels, a request can have {MAX_PIXELS:,}. Cut it, or use semiseg predict, "
            "which takes images of any size"
        )


def read(number: int, image: bytes, folder: Path) -> Picture:
    """Decoded as the images of a training are, which are read from files."""
    path = folder / f"{number}.png"  # the suffix by which transparency is looked for; the content decides the rest
    path.write_bytes(image)
    try:
        return Picture.of(path)
    except DataError:
        refuse(f"image {number} of the request is damaged, cut short, or has pixels of a kind that no training reads")


def answer(trained: Trained, planes: Held, path: Path) -> dict[str, Any]:
    """One row."""
    write_picture(path, planes, CLASSES, None, palette_of(trained.classes))
    classes, confidence = planes.planes[CLASSES], planes.planes[CONFIDENCE]
    seen = classes != IGNORE_INDEX
    counts = np.bincount(classes[seen], minlength=trained.classes.num_classes) / max(1, seen.sum())
    return {
        "class_map": base64.b64encode(path.read_bytes()).decode("ascii"),
        "shares": dict(zip(trained.classes.names, counts.round(6).tolist(), strict=True)),
        "confidence": round(float(confidence[seen].mean()) / 100, 4) if seen.any() else 0.0,
    }


def refuse(why: str) -> NoReturn:
    raise MlflowException.invalid_parameter_value(f"{why}.")
