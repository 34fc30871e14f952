"""Base images with their truth, and the verb."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from semiseg.cli import main

CLASSES = "class_name,class_color\nsoil,120 80 40\npalm,20 160 20\nroad,90 90 90\n"


@pytest.fixture
def patchify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run the verb with overrides; its exit status. The class mapping and out=tmp_path / "out" unless given."""
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    (tmp_path / "classes.csv").write_text(CLASSES, encoding="utf-8")

    def run(**settings: object) -> int:
        given = {"class_mapping": tmp_path / "classes.csv", "out": tmp_path / "out"} | settings
        typed = [f"{key}={v.as_posix() if isinstance(v, Path) else v}" for key, v in given.items() if v is not None]
        with pytest.raises(SystemExit) as stop:
            main(["patchify", *typed])
        assert isinstance(stop.value.code, int)
        return stop.value.code

    return run


@pytest.fixture
def base_images(tmp_path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Images [H, W, 3] and masks [H, W] of two base images, written to images/ and masks/; `b` is in a folder."""
    rng, pairs = np.random.default_rng(0), {}
    for name, (height, width) in {"a": (100, 150), "f/b": (64, 64)}.items():
        image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        mask = rng.integers(0, 3, (height, width), dtype=np.uint8)
        mask[:40, :40] = 255
        for folder, pixels in (("images", image[..., ::-1]), ("masks", mask)):
            path = tmp_path / folder / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), pixels)
        pairs[name] = (image, mask)
    return pairs
