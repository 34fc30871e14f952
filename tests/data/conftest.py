"""A small Salak tree whose patches can be told apart, and the bundle of a run on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from semiseg.data.build import DataBundle, build_data
from semiseg.data.config import DataConfig
from semiseg.data.layouts.salak import SalakLayout

SIDE = 24
LABELED, HELD_OUT, HIDDEN, WITHOUT_MASK = ("a", "b", "c"), ("v",), ("h",), ("u",)


def write_patch(folder: Path, source: str, row: int, number: int, *, with_mask: bool) -> None:
    """A noisy image whose blue channel is the patch's number, and a mask of two classes."""
    rng = np.random.default_rng(number)
    image = rng.integers(256, size=(SIDE, SIDE, 3), dtype=np.uint8)
    image[..., 0] = number  # OpenCV writes BGR
    mask = np.full((SIDE, SIDE), number % 3, dtype=np.uint8)
    mask[: SIDE // 2] = 2
    cv2.imwrite(str(folder / "images" / f"{source}_patch_{row}_0.png"), image)
    if with_mask:
        cv2.imwrite(str(folder / "masks" / f"{source}_patch_{row}_0.png"), mask)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Six sources of four patches: three labelled, one for validation, one with hidden masks, one without masks."""
    root = tmp_path / "tree"
    number = 0
    for source in LABELED + HELD_OUT + HIDDEN + WITHOUT_MASK:
        folder = root / f"flight-{source}"
        (folder / "images").mkdir(parents=True)
        (folder / "masks").mkdir()
        for row in range(4):
            write_patch(folder, source, row, number, with_mask=source not in WITHOUT_MASK)
            number += 1
    (root / "class_mapping.csv").write_text("class_name,class_color\nsoil,10 10 10\nroad,90 90 90\npalm,0 200 0\n")
    (root / "labeled.txt").write_text("\n".join(LABELED))
    (root / "val.txt").write_text("\n".join(HELD_OUT))
    return root


@pytest.fixture
def make_bundle(tree: Path, tmp_path: Path) -> Callable[..., DataBundle]:
    """The bundle of `tree`, with any setting of `DataConfig` replaced."""

    def make(**settings) -> DataBundle:
        lists = {"labeled_list": str(tree / "labeled.txt"), "val_list": str(tree / "val.txt")}
        cache = str(tmp_path / "cache")
        return build_data(DataConfig(root=str(tree), layout=SalakLayout(), cache_dir=cache, **lists, **settings))

    return make


@pytest.fixture
def bundle(make_bundle: Callable[..., DataBundle]) -> DataBundle:
    """The bundle of `tree` with default settings."""
    return make_bundle()
