"""From settings to the data of a run: index, classes and pools."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semiseg.data.classes import ClassMap
from semiseg.data.config import DataConfig
from semiseg.data.frequency import class_counts
from semiseg.data.index import PatchIndex, cached_index
from semiseg.data.layouts.base import Layout
from semiseg.data.split import Pools, make_pools
from semiseg.errors import ConfigError


@dataclass
class DataBundle:
    """Everything that datasets, losses and reports need to know about the data."""

    index: PatchIndex
    classes: ClassMap
    pools: Pools
    config: DataConfig

    @property
    def has_hidden_masks(self) -> bool:
        """Whether pseudo labels can be audited: some unlabelled patch has a mask that training does not see."""
        return bool(self.index.has_mask[self.pools.unlabeled].any())

    def counts(self) -> NDArray[np.int64]:
        """Pixels of each class over the labelled training masks, [C]."""
        cache = Path(self.config.cache_dir).expanduser()
        return class_counts(self.index, self.pools.train, self.classes, cache, self.config.on_error)

    def fingerprint(self) -> str:
        """16 hex digits over index, classes and pools: runs with the same one can be compared."""
        digest = hashlib.blake2b(digest_size=8)
        digest.update(self.index.fingerprint().encode())
        digest.update(repr(self.classes).encode())
        for patches in (self.pools.train, self.pools.val, self.pools.unlabeled):
            digest.update(patches.astype(np.int64).tobytes() + b"|")
        return digest.hexdigest()


def build_data(cfg: DataConfig) -> DataBundle:
    """List the patches of `cfg.root` with the instantiated `cfg.layout`, and split them.

    Raises ConfigError for settings that do not fit the data and DataError for data that cannot be used.
    """
    if not cfg.root:
        raise ConfigError("data.root is not given. Name the folder of the data with data.root=PATH.")
    layout: Layout = cfg.layout
    root = Path(cfg.root).expanduser().absolute()
    layout.prepare(root)
    classes = layout.classes(root, cfg.class_mapping)
    check_excluded(cfg.exclude_from_miou, classes)
    index = read_index(layout, root, cfg)
    pools = make_pools(index, cfg)
    pools.check_disjoint()
    return DataBundle(index, classes, pools, cfg)


def read_index(layout: Layout, root: Path, cfg: DataConfig) -> PatchIndex:
    """The patches of `root`, from the cache while it is still of them."""
    age = time.time() - layout.changed_at(root)
    return cached_index(layout.scan, root, Path(cfg.cache_dir).expanduser(), layout.key(root), age)


def check_excluded(excluded: list[int], classes: ClassMap) -> None:
    """Raises ConfigError for a class id that there is none of, and where no class is left."""
    unknown = [number for number in excluded if not 0 <= number < classes.num_classes]
    if unknown:
        raise ConfigError(
            f"data.exclude_from_miou names class {unknown[0]}; the {classes.num_classes} classes have the ids 0 to "
            f"{classes.num_classes - 1}."
        )
    if len(set(excluded)) == classes.num_classes:
        raise ConfigError("data.exclude_from_miou names every class, so no mIoU is left. Leave one out of it.")
