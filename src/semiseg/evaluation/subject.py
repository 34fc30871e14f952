"""What is evaluated on: the data, the split, and whether the network has seen it."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from omegaconf import DictConfig, OmegaConf

from semiseg.builder import build_bundle
from semiseg.config import build, check_missing, resolved, settings
from semiseg.data.build import DataBundle, check_excluded, read_index
from semiseg.data.classes import ClassMap
from semiseg.data.config import DataConfig
from semiseg.data.split import Pools, make_pools
from semiseg.errors import ConfigError, DataError, SemisegError
from semiseg.files import write_text
from semiseg.reproduce import moved
from semiseg.trained import System

SPLITS = ("val", "test", "train", "unlabeled")
NONE = np.zeros(0, np.int64)


@dataclass(frozen=True)
class Subject:
    """Patches with their truth, and the classes that the mIoU leaves out."""

    bundle: DataBundle
    patches: np.ndarray  # [N] int64
    excluded: tuple[int, ...]
    warnings: list[str]

    @property
    def sources(self) -> tuple[list[str], np.ndarray]:
        """Names of the base images, [S], and of each patch the number of its own, [N]."""
        index = self.bundle.index
        numbers, of_patch = np.unique(index.source_id[self.patches], return_inverse=True)
        return [index.sources[number] for number in numbers], of_patch


def subject_of(config: DictConfig, split: str, systems: Sequence[System], typed: Collection[str], out: Path) -> Subject:
    """The patches of `split`, in the data of the first run with the `data.*` settings among the `typed` keys, or in the
    data that `data=WORD` names. A class mapping that such data lacks is the run's, written to `out`.

    Raises ConfigError for data whose classes are not those of the runs, and DataError for a split without truth.
    """
    first = systems[0]
    data = data_of(config, first, typed, out)
    bundle = every_mask(data) if split == "test" else build_bundle(OmegaConf.create({"data": data}))
    check_classes(first, bundle.classes, f"data of {bundle.index.root}")
    if split == "test":
        check_unseen(systems, bundle)
    patches = {"train": bundle.pools.train, "unlabeled": bundle.pools.unlabeled}.get(split, bundle.pools.val)
    patches = patches[bundle.index.has_mask[patches]]
    if not len(patches):
        raise DataError(_empty(split, bundle))
    excluded = (config if "data.exclude_from_miou" in typed else first.config).data.get("exclude_from_miou") or ()
    return Subject(bundle, patches, tuple(excluded), [] if "data" in typed else seen_elsewhere(systems, bundle))


def data_of(config: DictConfig, run: System, typed: Collection[str], out: Path) -> DictConfig:
    """The data settings: those of `data=WORD` as composed, else the run's with the typed ones in their place."""
    if "data" in typed:
        lacking = OmegaConf.is_missing(config.data, "class_mapping")
        config.data.class_mapping = str(out / "class_mapping.csv") if lacking else config.data.class_mapping
        check_missing(config)
        if lacking:
            write_classes(out / "class_mapping.csv", run.classes)
        return OmegaConf.create(resolved(config.data, "data"))
    data = moved(run.config.data, str(config.data.root)) if "data.root" in typed else run.config.data.copy()
    for key in (each.removeprefix("data.") for each in typed if each.startswith("data.") and each != "data.root"):
        data[key] = config.data[key]
    return data


def write_classes(path: Path, classes: ClassMap) -> None:
    """A class mapping, as the data layouts read it."""
    text = io.StringIO()
    rows = zip(classes.names, (" ".join(map(str, color)) for color in classes.colors), strict=True)
    csv.writer(text, lineterminator="\n").writerows([("class_name", "class_color"), *rows])
    write_text(path, text.getvalue())


def every_mask(data: DictConfig) -> DataBundle:
    """As `build_bundle`, with every patch that has a mask in the validation pool: a test set trains nothing."""
    node = resolved(data, "data")
    layout = build(node.pop("layout"), "data.layout")
    config = settings(DataConfig, node, "data")
    root = Path(str(config.root)).expanduser().absolute()
    layout.prepare(root)
    classes = layout.classes(root, config.class_mapping)
    check_excluded(config.exclude_from_miou, classes)
    index = read_index(layout, root, config)
    return DataBundle(index, classes, Pools(NONE, np.flatnonzero(index.has_mask), NONE), config)


def check_classes(run: System, classes: ClassMap, of: str) -> None:
    """Raises ConfigError where names or their order differ: the ids would mean something else."""
    if run.classes.names == classes.names:
        return
    raise ConfigError(
        f"{run.folder} predicts the {len(run.classes.names)} classes {', '.join(run.classes.names)}; the {of} has the "
        f"{len(classes.names)} classes {', '.join(classes.names)}. Both need the same names in the same order: give "
        "other runs, other data, or data.class_mapping=PATH."
    )


def check_unseen(systems: Sequence[System], bundle: DataBundle) -> None:
    """Raises ConfigError for test data that is the data of a run: all of it, that is, which was trained on."""
    for run in systems:
        if has_seen(run, bundle):
            raise ConfigError(
                f"split=test takes every patch with a mask of data that was not trained on, but {bundle.index.root} is "
                f"the data of {run.folder}. Name a test set with data.root=PATH or data=folder data.root=PATH; or "
                "sources of this one with data.val_list=PATH and split=val."
            )


def has_seen(run: System, bundle: DataBundle) -> bool:
    """Whether data is that of a run, at the same place or moved."""
    root = run.config.data.root
    if root is not None and Path(root).expanduser().resolve() == bundle.index.root.resolve():
        return True
    try:
        node = resolved(moved(run.config.data, str(bundle.index.root)), "data") | {"layout": None}
        config = settings(DataConfig, node, "data")
        pools = make_pools(bundle.index, config)
    except SemisegError:  # the run's lists do not fit it
        return False
    fingerprint = DataBundle(bundle.index, bundle.classes, pools, config).fingerprint()
    return fingerprint == run.summary.get("data_fingerprint")


def seen_elsewhere(systems: Sequence[System], bundle: DataBundle) -> list[str]:
    """A warning for each run whose pools were others: what is held out here may have been trained on there."""
    fingerprint = bundle.fingerprint()
    return [
        f"{run.name} was trained on other pools than these: it may have seen these patches, or other classes."
        for run in systems
        if run.summary.get("data_fingerprint") != fingerprint
    ]


def _empty(split: str, bundle: DataBundle) -> str:
    if split == "unlabeled":
        return (
            f"split=unlabeled: none of the {len(bundle.pools.unlabeled):,} unlabelled patches in {bundle.index.root} "
            "has a hidden mask to be held against. Take split=val."
        )
    return f"split={split}: no patch in {bundle.index.root} has a mask. Give labelled data with data.root=PATH."
