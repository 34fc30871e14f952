"""Networks of one line, real files below them, and one run of two steps."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from semiseg.cli import main
from semiseg.data.build import DataBundle, build_data
from semiseg.data.classes import ClassMap
from semiseg.data.config import DataConfig
from semiseg.data.layouts.salak import SalakLayout
from semiseg.evaluation.subject import Subject

CLASSES = ClassMap(("soil", "road", "palm"), ((10, 10, 10), (90, 90, 90), (0, 200, 0)))


class PixelNet:
    """Each pixel by its own colour, so that what is done to the image is done to the prediction."""

    def __init__(self, seed: int, classes: ClassMap = CLASSES) -> None:
        self.classes = classes
        self.weight = torch.from_numpy(np.random.default_rng(seed).normal(size=(classes.num_classes, 3))).float()

    def probabilities(self, images: Tensor) -> Tensor:
        return torch.einsum("kc,bchw->bkhw", self.weight, images.float() / 64 - 2).softmax(1)


@pytest.fixture
def pixel_net() -> Callable[..., PixelNet]:
    """A network of a seed."""
    return PixelNet


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Sources a to d of three patches each, the last patch of each wider; every mask has an ignored corner."""
    root = tmp_path / "tree"
    rng = np.random.default_rng(0)
    for source in "abcd":
        folder = root / f"flight-{source}"
        for kind in ("images", "masks"):
            (folder / kind).mkdir(parents=True)
        for number in range(3):
            shape = (24, 40) if number == 2 else (24, 24)
            coarse = rng.integers(0, 3, (6, shape[1] // 4), dtype=np.uint8)
            mask = coarse.repeat(4, 0).repeat(4, 1)
            mask[:3, :5] = 255
            image = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
            cv2.imwrite(str(folder / "images" / f"{source}_patch_{number}_0.png"), image)
            cv2.imwrite(str(folder / "masks" / f"{source}_patch_{number}_0.png"), mask)
    rows = [f"{name},{' '.join(map(str, color))}" for name, color in zip(CLASSES.names, CLASSES.colors, strict=True)]
    (root / "class_mapping.csv").write_text("\n".join(["class_name,class_color", *rows]), encoding="utf-8")
    (root / "val.txt").write_text("a\nb\n", encoding="utf-8")
    return root


@pytest.fixture
def bundle(tree: Path, tmp_path: Path) -> DataBundle:
    """Sources a and b validate."""
    cache, val = str(tmp_path / "cache"), str(tree / "val.txt")
    return build_data(DataConfig(root=str(tree), layout=SalakLayout(), cache_dir=cache, val_list=val))


@pytest.fixture
def subject(bundle: DataBundle) -> Subject:
    """The validation pool; the mIoU leaves out the first class."""
    return Subject(bundle, bundle.pools.val, (0,), [])


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps on masks of 32 pixels; c and d validate, e has hidden masks, f none."""
    base = tmp_path_factory.mktemp("trained")
    root = base / "data"
    rng = np.random.default_rng(3)
    for source in "abcdef":
        folder = root / f"flight-{source}"
        for kind in ("images", "masks"):
            (folder / kind).mkdir(parents=True)
        for number in range(2):
            name = f"{source}_patch_{number}_0.png"
            cv2.imwrite(str(folder / "images" / name), rng.integers(0, 256, (40, 40, 3), dtype=np.uint8))
            mask = rng.integers(0, 3, (5, 5), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
            if source != "f":
                cv2.imwrite(str(folder / "masks" / name), mask)
    rows = [f"{name},{' '.join(map(str, color))}" for name, color in zip(CLASSES.names, CLASSES.colors, strict=True)]
    (root / "class_mapping.csv").write_text("\n".join(["class_name,class_color", *rows]), encoding="utf-8")
    (root / "labeled.txt").write_text("a\nb\n", encoding="utf-8")
    (root / "val.txt").write_text("c\nd\n", encoding="utf-8")
    place = root.as_posix()
    run_verb(
        "train", "model=lightweight", "model.encoder_weights=null", "data=salak", f"data.root={place}",
        f"data.labeled_list={place}/labeled.txt", f"data.val_list={place}/val.txt", "trainer.max_epochs=null",
        "data.class_thresholds=null", "data.exclude_from_miou=[0]", "trainer.max_steps=2", "trainer.eval_every=1",
        "trainer.log_every=1", "trainer.crop_size=32", "trainer.batch_size=2", "trainer.device=cpu", "tracking=none",
        f"output={(base / 'runs').as_posix()}", "name=first",
    )  # fmt: skip
    return base / "runs" / "semiseg" / "first"


def run_verb(verb: str, *overrides: str) -> int:
    """The exit status of a verb, run in this process; the arguments of the process are as before afterwards."""
    before = sys.argv
    try:
        main([verb, *overrides])
    except SystemExit as stop:
        return int(stop.code or 0)
    finally:
        sys.argv = before
    return 0


@pytest.fixture
def semiseg() -> Callable[..., int]:
    """`run_verb`."""
    return run_verb


@pytest.fixture
def without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take most of the time of a small evaluation."""
    monkeypatch.setattr("semiseg.evaluation.files.pictures", lambda *_: [])


@pytest.fixture
def evaluate(trained_run: Path, tmp_path: Path) -> Callable[..., dict]:
    """Evaluate the trained run with more overrides; what evaluation.json says."""

    def run(*overrides: str, run: str = trained_run.as_posix()) -> dict:
        out = tmp_path / "out"
        assert run_verb("evaluate", f"run={run}", f"out={out.as_posix()}", "device=cpu", *overrides) == 0
        return json.loads((out / "evaluation.json").read_text(encoding="utf-8"))

    return run
