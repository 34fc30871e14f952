"""What is to be predicted: one file, a folder with all below it, or the patches of a data set."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf

from semiseg.builder import build_bundle
from semiseg.data.build import DataBundle
from semiseg.data.index import PatchIndex
from semiseg.data.layouts.base import IMAGE_SUFFIXES
from semiseg.errors import DataError
from semiseg.evaluation.subject import every_mask
from semiseg.prediction.sources import RASTER_SUFFIXES

SPLITS = ("unlabeled", "val", "train", "all")


@dataclass(frozen=True)
class Item:
    """An image and the name of its outputs, a path without suffix; `mask` is its truth where there is one."""

    name: str
    path: Path
    mask: Path | None = None


class DataItems(Sequence[Item]):
    """Patches of a data set, made when they are asked for: hundreds of thousands of paths would fill the memory."""

    def __init__(self, listed: PatchIndex, patches: NDArray[np.int64]) -> None:
        self.listed, self.patches = listed, patches

    def __len__(self) -> int:
        return len(self.patches)

    def __getitem__(self, position: int) -> Item:  # pyright: ignore[reportIncompatibleMethodOverride], no slices
        patch = int(self.patches[position])
        return Item(self.listed.name(patch), self.listed.image_path(patch), self.listed.mask_path(patch))


def patches_of(data: DictConfig, split: str) -> tuple[DataBundle, NDArray[np.int64]]:
    """The data set of data settings, and the numbers of the patches of a split, [N].

    The pools of a training are made only where they say which patches those are: a data set without any mask has none,
    and all of it is unlabelled. Raises ConfigError and DataError, the latter also for a split without a patch.
    """
    bundle = every_mask(data)
    if split == "all" or (split == "unlabeled" and not bundle.index.has_mask.any()):
        return bundle, np.arange(len(bundle.index))
    bundle = build_bundle(OmegaConf.create({"data": data}))
    patches = getattr(bundle.pools, split)
    if not len(patches):
        raise DataError(f"{bundle.index.root} has no patch for split={split}. Take another of {', '.join(SPLITS)}.")
    return bundle, patches


def find_items(path: Path, out: Path, masks: Path | None = None) -> list[Item]:
    """The image of a file, or every image in and below a folder, in the order of their names.

    What lies in `out` or in the folder `masks` is left out, so that a folder can hold its own. Raises DataError for a
    path that does not exist, a folder without an image, and for `out` being the folder itself.
    """
    if path.is_file():
        return [Item(path.stem, path)]
    if not path.is_dir():
        raise DataError(f"input={path} does not exist. Give an image, a raster or a folder of them.")
    if path.resolve() == out.resolve():
        raise DataError(f"out={out} is the folder of the images. Give another, such as out={out / 'predicted'}.")
    left_out = [folder.expanduser().resolve() for folder in (out, masks) if folder is not None]
    files = sorted(_images_below(path, left_out))
    if not files:
        suffixes = ", ".join((*IMAGE_SUFFIXES, *_more_suffixes()))
        raise DataError(f"{path} and the folders in it hold no image: nothing ends in {suffixes}.")
    relative = [file.relative_to(path) for file in files]
    stems = Counter(file.with_suffix("").as_posix() for file in relative)
    return [Item(_name(short, stems), file) for short, file in zip(relative, files, strict=True)]


def _name(file: Path, stems: Counter[str]) -> str:
    """Two images of one name in one folder keep their suffix: a.jpg and a.tif would have the same outputs."""
    stem = file.with_suffix("").as_posix()
    return stem if stems[stem] == 1 else file.as_posix()


def _images_below(folder: Path, left_out: Sequence[Path]) -> Iterator[Path]:
    """Each folder once, whatever links lead to it. Raises DataError for one that cannot be read."""
    suffixes, seen = (*IMAGE_SUFFIXES, *_more_suffixes()), {*left_out, folder.resolve()}
    for parent, folders, names in os.walk(folder, followlinks=True, onerror=_refuse):
        here = Path(parent)
        inside = {name: (here / name).resolve() for name in sorted(folders)}
        folders[:] = []
        for name, place in inside.items():
            if place not in seen:
                seen.add(place)
                folders.append(name)
        yield from (here / name for name in names if name.lower().endswith(suffixes) and not name.startswith("."))


def _refuse(error: OSError) -> NoReturn:
    raise DataError(f"{error.filename} cannot be read ({error.strerror}). Mend its permissions, or leave it out.")


def _more_suffixes() -> tuple[str, ...]:
    return tuple(suffix for suffix in RASTER_SUFFIXES if suffix not in IMAGE_SUFFIXES)
