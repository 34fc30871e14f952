"""Toy networks of known receptive fields, and rasters of every kind."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor
from torch.nn.functional import conv2d

from semiseg.data.classes import ClassMap
from semiseg.models import LightweightDSConv

CLASSES = ClassMap(("soil", "palm", "road"), ((120, 80, 40), (20, 160, 20), (90, 90, 90)))


class Toy:
    """Three classes from a fixed random filter of 2 * radius + 1 pixels: a pixel sees `radius` around it, no more."""

    classes = CLASSES

    def __init__(self, radius: int = 2) -> None:
        side = 2 * radius + 1
        generator = torch.Generator().manual_seed(1)
        self.radius = radius
        self.filter = torch.randn(3, 3, side, side, generator=generator, dtype=torch.float64) / side
        self.batches: list[tuple[int, ...]] = []

    def probabilities(self, images: Tensor) -> Tensor:
        self.batches.append(tuple(images.shape))
        scores = conv2d(images.double() / 64 - 2, self.filter, padding=self.radius)
        return scores.softmax(dim=1).float()


@pytest.fixture
def toy() -> Toy:
    return Toy()


@pytest.fixture(scope="session")
def picture() -> np.ndarray:
    """[150, 210, 3] smooth noise, so that neighbouring pixels agree on their class here and there."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (19, 27, 3)).astype(np.uint8)
    import cv2

    return np.asarray(cv2.resize(coarse, (210, 150), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


@pytest.fixture
def make_raster(tmp_path: Path, picture: np.ndarray) -> Callable[..., Path]:
    """A GeoTIFF of an image [H, W, bands] below tmp_path / "in", with any keyword of rasterio.open."""
    rasterio = pytest.importorskip("rasterio", reason="rasterio is not installed")

    def make(name: str = "flight.tif", image: np.ndarray = picture, **profile: Any) -> Path:
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        height, width, count = image.shape
        place = {"crs": "EPSG:32749", "transform": rasterio.Affine(0.5, 0, 430_000, 0, -0.5, 9_160_000)}
        settings = {"driver": "GTiff", "height": height, "width": width, "count": count, "dtype": image.dtype}
        with rasterio.open(path, "w", **(settings | place | profile)) as raster:
            raster.write(np.moveaxis(image, -1, 0))
        return path

    return make


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of three classes, its weights random."""
    folder = tmp_path_factory.mktemp("runs") / "first"
    (folder / "checkpoints").mkdir(parents=True)
    (folder / ".hydra").mkdir()
    model = {"name": "lightweight", "_target_": "semiseg.models.LightweightDSConv", "encoder_weights": None}
    config = {
        "model": model,
        "trainer": {"channels_last": True, "eval_batch_size": 2},
        "pseudo_label": {},
        "data": {"class_thresholds": None},
    }
    OmegaConf.save(OmegaConf.create(config), folder / ".hydra" / "config.yaml")
    summary = {"classes": list(CLASSES.names), "colors": dict(zip(CLASSES.names, CLASSES.colors, strict=True))}
    (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    torch.manual_seed(0)
    torch.save(LightweightDSConv(3).state_dict(), folder / "checkpoints" / "best_model.pth")
    return folder
