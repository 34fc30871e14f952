"""A system that predicts from colours alone, so that its answers are known."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor

from semiseg.data.classes import ClassMap

CLASSES = ClassMap(("red <b>roof</b>", "green & blue"), ((200, 30, 30), (30, 160, 120)))


class Reddish:
    """The first class where red is the strongest colour, else the second."""

    name, classes, device = "toy/first", CLASSES, torch.device("cpu")

    def __init__(self, folder: Path) -> None:
        self.summary = {"best_val_miou": 0.6543}
        self.config = OmegaConf.create({"pseudo_label": {}, "data": {"class_thresholds": None}})
        self.folder, self.weights = folder, folder / "best_model.pth"
        self.weights.write_bytes(b"weights")

    def probabilities(self, images: Tensor) -> Tensor:
        red = (images[:, 0] > images[:, 1:].amax(1)).float() * 0.8 + 0.1
        return torch.stack([red, 1 - red], dim=1)


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Reddish:
    return Reddish(tmp_path_factory.mktemp("toy"))
