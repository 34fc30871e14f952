"""Decode images and masks in threads, and note what does not fit instead of stopping at it."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from semiseg.contracts import IGNORE_INDEX
from semiseg.data.build import DataBundle
from semiseg.data.masks import read_image, read_mask
from semiseg.data.split import Patches, Pools
from semiseg.errors import DataError

BAD_IMAGE = "images that cannot be decoded"
BAD_MASK = "masks that cannot be decoded"
BAD_VALUES = "masks with unknown values"
BAD_SIZE = "pairs of different size"
KINDS = (BAD_IMAGE, BAD_MASK, BAD_VALUES, BAD_SIZE)

CHUNK = 1024  # patches handed to the threads at once: a waiting task takes a kilobyte


@dataclass(frozen=True)
class Problem:
    """One file that training could not use; `file` is its path below the root."""

    kind: str
    file: str
    detail: str


@dataclass(frozen=True)
class Look:
    """What one patch shows. `size` is (width, height), (0, 0) for an image that cannot be decoded."""

    size: tuple[int, int]
    pixels: NDArray[np.int64]  # [C + 1] of each class and ignored; zeros without a readable mask
    problems: list[Problem]


@dataclass(frozen=True)
class Scan:
    """What L patches show, a row each."""

    patches: Patches  # [L] numbers in the index, ascending
    size: NDArray[np.int64]  # [L, 2] width and height, 0 = cannot be decoded
    pixels: NDArray[np.int64]  # [L, C + 1] pixels of each class, the last column those ignored
    sound: NDArray[np.bool_]  # [L] without any problem
    problems: list[Problem]

    def rows(self, pool: Patches) -> NDArray[np.intp]:
        """Rows of the patches that belong to `pool`."""
        return np.flatnonzero(np.isin(self.patches, pool, assume_unique=True))


def choose_patches(pools: Pools, sample: int | None, seed: int) -> Patches:
    """Every labelled patch, for training and validation, and `sample` unlabelled ones (null = all), ascending."""
    unlabeled = pools.unlabeled
    if sample is not None and sample < len(unlabeled):
        unlabeled = np.random.default_rng(seed).choice(unlabeled, sample, replace=False)
    return np.sort(np.concatenate([pools.train, pools.val, unlabeled]))


def scan_patches(bundle: DataBundle, patches: Patches, advance: Callable[[int], object]) -> Scan:
    """Decode the images and masks of `patches`; `advance` is told how many more are done."""
    cv2.setNumThreads(0)  # the threads below are enough
    looks: list[Look] = []
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:  # decoding releases the GIL
        for start in range(0, len(patches), CHUNK):
            for look in pool.map(lambda patch: look_at(bundle, patch), patches[start : start + CHUNK].tolist()):
                looks.append(look)
                advance(1)
    return Scan(
        patches,
        np.array([look.size for look in looks], dtype=np.int64),
        np.stack([look.pixels for look in looks]),
        np.array([not look.problems for look in looks], dtype=np.bool_),
        [problem for look in looks for problem in look.problems],
    )


def look_at(bundle: DataBundle, patch: int) -> Look:
    """Decode one patch, its mask too where there is one: hidden masks are read by the audit of pseudo labels."""
    image_path, mask_path = bundle.index.image_path(patch), bundle.index.mask_path(patch)
    num_classes = bundle.classes.num_classes
    problems, size, mask_size = [], (0, 0), None
    pixels = np.zeros(num_classes + 1, dtype=np.int64)
    try:
        height, width, _ = read_image(image_path).shape
        size = (width, height)
    except DataError as error:
        problems.append(_problem(bundle, BAD_IMAGE, image_path, error))
    if mask_path is not None:
        try:
            mask = read_mask(mask_path, bundle.classes)
            mask_size = (mask.shape[1], mask.shape[0])
            counts = np.bincount(mask.ravel(), minlength=256)
            pixels[:-1], pixels[-1] = counts[:num_classes], counts[IGNORE_INDEX]
        except DataError as error:
            problems.append(_problem(bundle, _mask_kind(mask_path), mask_path, error))
    if mask_path is not None and mask_size is not None and any(size) and size != mask_size:
        detail = f"the mask has {mask_size[0]}x{mask_size[1]} pixels, its image {size[0]}x{size[1]}"
        problems.append(Problem(BAD_SIZE, _below_root(bundle, mask_path), detail))
    return Look(size, pixels, problems)


def _mask_kind(path: Path) -> str:
    """A refused mask that decodes as a picture has values that no class has."""
    try:
        read_image(path)
    except DataError:
        return BAD_MASK
    return BAD_VALUES


def _problem(bundle: DataBundle, kind: str, path: Path, error: DataError) -> Problem:
    """Only the first sentence of the error: the remedy is said once for all files."""
    sentence = error.args[0].removeprefix(str(path)).lstrip(": ").split(". ")[0]
    return Problem(kind, _below_root(bundle, path), sentence)


def _below_root(bundle: DataBundle, path: Path) -> str:
    return path.relative_to(bundle.index.root).as_posix()
