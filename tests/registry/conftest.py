"""A tracked run of two classes that is registered once, in a store of its own."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import url2pathname

import cv2
import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from tests.evaluation.conftest import run_verb

from semiseg.models import LightweightDSConv
from semiseg.tracking.mlflow import MLflowTracker

CONFIG = {
    "model": {"name": "lightweight", "_target_": "semiseg.models.LightweightDSConv", "encoder_weights": "imagenet"},
    "trainer": {"channels_last": True},
    "experiment_name": "systems",
}
SUMMARY = {"classes": ["soil", "palm"], "colors": {"soil": [1, 2, 3], "palm": [4, 5, 6]}, "best_val_miou": 0.5}


def write_run(folder: Path, seed: int = 0) -> Path:
    """A finished run with random weights."""
    for name in ("checkpoints", ".hydra"):
        (folder / name).mkdir(parents=True)
    OmegaConf.save(OmegaConf.create(CONFIG), folder / ".hydra" / "config.yaml")
    (folder / "summary.json").write_text(json.dumps(SUMMARY), encoding="utf-8")
    (folder / "metrics.jsonl").write_text('{"step": 1, "time": 0, "val/miou": 0.5}\n', encoding="utf-8")
    torch.manual_seed(seed)
    torch.save(LightweightDSConv(2).state_dict(), folder / "checkpoints" / "best_model.pth")
    return folder


@pytest.fixture(scope="session")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working directory whose runs/ has a tracked run, `semiseg/first`, that ended as KILLED; it is version 1 of
    `landcover`, also called @champion."""
    place = tmp_path_factory.mktemp("work place")
    folder = write_run(place / "runs" / "semiseg" / "first")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        isolate(patch)
        tracker = MLflowTracker("systems", root=place / "runs")
        tracker.start("first", {}, run_dir=folder)
        tracker.finish("KILLED")
        assert (
            run_verb("register", f"run={folder.relative_to(place).as_posix()}", "name=landcover", "alias=champion") == 0
        )
    return place


def isolate(patch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        patch.delenv(name, raising=False)
    patch.setenv("HYDRA_FULL_ERROR", "1")


@pytest.fixture
def here(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory is `workplace`, and no store is named in the environment."""
    monkeypatch.chdir(workplace)
    isolate(monkeypatch)
    return workplace


@pytest.fixture
def client(here: Path) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(tracking_uri=f"sqlite:///{(here / 'runs' / 'mlflow.db').as_posix()}")


@pytest.fixture
def artifacts(client: Any) -> Callable[[str], Path]:
    """The files of version 1 of a name, in the store."""

    def folder(name: str) -> Path:
        return Path(url2pathname(urlparse(client.get_model_version_download_uri(name, "1")).path))

    return folder


@pytest.fixture(scope="session")
def picture() -> np.ndarray:
    """uint8 RGB [70, 90, 3]."""
    coarse = np.random.default_rng(0).integers(0, 256, (9, 11, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(coarse, (90, 70), interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


@pytest.fixture(scope="session")
def encode() -> Callable[[np.ndarray], str]:
    """A picture as base64 of a PNG."""
    return lambda image: base64.b64encode(cv2.imencode(".png", image[..., ::-1])[1].tobytes()).decode()
