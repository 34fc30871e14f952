"""How often each class occurs in the labelled training masks, and the loss weights that follow."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semiseg.data.classes import ClassMap
from semiseg.data.index import PatchIndex, short_hash
from semiseg.data.masks import read_mask
from semiseg.errors import DataError
from semiseg.files import write_text

log = logging.getLogger(__name__)

Counts = NDArray[np.int64]


def class_counts(
    index: PatchIndex, patches: NDArray[np.int64], classes: ClassMap, cache_dir: Path, on_error: str
) -> Counts:
    """Pixels of each class over the masks of `patches`, [C]; ignored pixels are left out.

    Cached until a mask's time or size changes. With `on_error="skip"` unreadable masks are left out with one warning,
    otherwise they raise DataError.
    """
    paths = [path for path in (index.mask_path(patch) for patch in patches.tolist()) if path is not None]
    cache = cache_dir / f"counts-{_state(index, paths, classes, on_error)}.json"
    with contextlib.suppress(OSError, ValueError, TypeError):
        counts = np.array(json.loads(cache.read_text(encoding="utf-8")), dtype=np.int64)
        if counts.shape == (classes.num_classes,):
            return counts
    counts = _count(paths, classes, skip=on_error == "skip")
    with contextlib.suppress(OSError):
        write_text(cache, json.dumps(counts.tolist()))
    return counts


def balanced_weights(counts: Counts) -> NDArray[np.float32]:
    """Inverse-frequency weights [C], n / (classes present * count), so that they average 1 over the counted pixels.

    A class that never occurs gets 0: no label of it can be right, and a weight would be a division by zero. This is
    scikit-learn's `class_weight="balanced"`. Raises DataError when nothing was counted.
    """
    present = counts > 0
    if not present.any():
        raise DataError(
            "The labelled training masks hold ignored pixels only, so classes cannot be balanced. "
            "Check the masks or use loss.class_weights=null."
        )
    weights = np.zeros(len(counts), dtype=np.float64)
    weights[present] = counts.sum() / (present.sum() * counts[present])
    return weights.astype(np.float32)


def _state(index: PatchIndex, paths: list[Path], classes: ClassMap, on_error: str) -> str:
    """A name for the cache that changes with the masks, the mapping and the choice of patches."""
    masks = []
    for path in paths:
        with contextlib.suppress(OSError):  # a missing mask is reported where it is read
            stat = path.stat()
            masks.append((path.relative_to(index.root).as_posix(), stat.st_mtime_ns, stat.st_size))
    return short_hash(repr((index.fingerprint(), classes, on_error, masks)))


def _count(paths: list[Path], classes: ClassMap, *, skip: bool) -> Counts:
    def count_one(path: Path) -> Counts | DataError:
        try:
            return np.bincount(read_mask(path, classes).ravel(), minlength=256)[: classes.num_classes]
        except DataError as error:
            if skip:
                return error
            raise

    # Decoding releases the GIL, so threads are enough and share what they read.
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        results = list(pool.map(count_one, paths))
    errors = [result for result in results if isinstance(result, DataError)]
    if errors:
        log.warning(
            "%d of %d masks are left out of the class weights, the first: %s", len(errors), len(paths), errors[0]
        )
    total = np.zeros(classes.num_classes, dtype=np.int64)
    for result in results:
        if not isinstance(result, DataError):
            total += result
    return total
