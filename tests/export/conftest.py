"""A network of a few channels that is exported once, and runs around networks with random weights."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from semiseg.cli import main
from semiseg.data.classes import ClassMap
from semiseg.export.files import Exporter
from semiseg.models.base import SegmentationModel
from semiseg.models.blocks import ConvBNReLU, resize
from semiseg.trained import Trained

pytest.importorskip("onnxscript", reason='needs pip install -e ".[export]"')
pytest.importorskip("onnxruntime", reason='needs pip install -e ".[export]"')

CLASSES = ClassMap(("soil", "road", "palm"), ((10, 10, 10), (90, 90, 90), (0, 200, 0)))
SOURCES = "abcd"


class TinyNet(SegmentationModel):
    """Two heads on three convolutions: [B, 3, H, W] -> [2, B, C, H, W], with all that the graph must keep."""

    def __init__(self, num_classes: int, encoder_weights: str | None = None) -> None:
        super().__init__(num_classes, nn.Conv2d(3, 8, 3, stride=2, padding=1), "tiny", None)
        self.middle = ConvBNReLU(8, 8, 3)
        self.heads = nn.ModuleList(nn.Conv2d(8, num_classes, 1) for _ in range(2))

    def forward(self, image: Tensor) -> Tensor:
        features = self.middle(self.encoder(image))
        return torch.stack([resize(head(features), like=image) for head in self.heads])


def trained_of(network: SegmentationModel, root: Path, weights: Path) -> Trained:
    """A network with moving averages and classes as a training leaves them."""
    torch.manual_seed(1)
    with torch.no_grad():
        network.train()
        for _ in range(3):
            network(torch.randn(4, 3, 64, 64))
    torch.save(network.state_dict(), weights)
    summary = {
        "classes": list(CLASSES.names),
        "colors": dict(zip(CLASSES.names, map(list, CLASSES.colors), strict=True)),
        "git_commit": "abc123",
        "data_fingerprint": "0123456789abcdef",
        "best_val_miou": 0.5,
    }
    config = {
        "model": {"name": "tiny", "_target_": f"{type(network).__module__}.{type(network).__name__}"},
        "trainer": {"eval_batch_size": 2, "precision": "auto", "channels_last": False},
        "pseudo_label": {"_target_": "semiseg.pseudo_label.NoPseudoLabels"},
        "data": {
            "root": root.as_posix(), "layout": {"_target_": "semiseg.data.layouts.salak.SalakLayout"},
            "val_list": (root / "val.txt").as_posix(), "cache_dir": (root.parent / "cache").as_posix(),
        },
    }  # fmt: skip
    folder = weights.parent.parent
    return Trained(
        network.eval().requires_grad_(False), CLASSES, OmegaConf.create(config), summary, folder, weights,
        torch.device("cpu"),
    )  # fmt: skip


def write_run(trained: Trained) -> Path:
    """The files that `run=` needs."""
    (trained.folder / ".hydra").mkdir()
    OmegaConf.save(trained.config, trained.folder / ".hydra" / "config.yaml")
    (trained.folder / "summary.json").write_text(json.dumps(dict(trained.summary)), encoding="utf-8")
    return trained.folder


@pytest.fixture(scope="session")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four sources of two patches each; c and d validate."""
    root = tmp_path_factory.mktemp("base") / "data"
    rng = np.random.default_rng(0)
    for source in SOURCES:
        folder = root / f"flight-{source}"
        for kind, top, shape in (("images", 256, (5, 6, 3)), ("masks", 3, (5, 6))):
            (folder / kind).mkdir(parents=True)
            for number in range(2):
                coarse = rng.integers(0, top, shape, dtype=np.uint8)
                cv2.imwrite(
                    str(folder / kind / f"{source}_patch_{number}_0.png"), coarse.repeat(8, axis=0).repeat(8, axis=1)
                )
    rows = [f"{name},{' '.join(map(str, color))}" for name, color in zip(CLASSES.names, CLASSES.colors, strict=True)]
    (root / "class_mapping.csv").write_text("\n".join(["class_name,class_color", *rows]), encoding="utf-8")
    (root / "val.txt").write_text("c\nd\n", encoding="utf-8")
    return root


@pytest.fixture(scope="session")
def trained(data_root: Path) -> Trained:
    """The tiny network, as a run on disk whose folder is `trained.folder`."""
    folder = data_root.parent / "first"
    (folder / "checkpoints").mkdir(parents=True)
    found = trained_of(TinyNet(3), data_root, folder / "checkpoints" / "best_model.pth")
    write_run(found)
    return found


@pytest.fixture(scope="session")
def images() -> list[Tensor]:
    """uint8 [3, 40, 48] of several frequencies."""
    rng = np.random.default_rng(1)
    coarse = [rng.integers(0, 256, (3, 5, 6), dtype=np.uint8) for _ in range(6)]
    return [torch.from_numpy(each.repeat(8, axis=1).repeat(8, axis=2)) for each in coarse]


@pytest.fixture(scope="session")
def exported(trained: Trained, images: list[Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with all three files of the tiny network."""
    out = tmp_path_factory.mktemp("exported")
    Exporter(trained, out, [torch.stack(images[:1]), torch.stack(images[:3])], images).export(
        ["onnx", "torch_export", "int8"]
    )
    return out


@pytest.fixture
def semiseg() -> Callable[..., int]:
    """The exit status of a verb, run in this process."""

    def run(verb: str, *overrides: str) -> int:
        before: Sequence[str] = sys.argv
        try:
            main([verb, *overrides])
        except SystemExit as stop:
            return int(stop.code or 0)
        finally:
            sys.argv = list(before)
        return 0

    return run
