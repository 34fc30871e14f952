"""PASCAL VOC 2012 segmentation, with the extra annotations of SBD where they are there."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from semiseg.data.classes import ClassMap, read_class_mapping
from semiseg.data.index import FREE, TRAIN, VAL, PatchIndex
from semiseg.data.layouts.base import IMAGE_SUFFIXES, Layout, check_root, subfolders
from semiseg.data.layouts.links import check_stays_inside
from semiseg.data.layouts.listing import Listing, NamePattern, Place, list_folder, number_sources
from semiseg.data.lists import Entry, check_inside, read_list
from semiseg.errors import ConfigError, DataError

TRAIN_SETS = ("train", "trainval", "train_aug")
NAMES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip


def voc_color(number: int) -> tuple[int, int, int]:
    """RGB of an id in the colour map of the VOC development kit: its bits, spread over the three channels."""
    red = green = blue = 0
    for bit in range(8):
        red |= (number >> (3 * bit) & 1) << (7 - bit)
        green |= (number >> (3 * bit + 1) & 1) << (7 - bit)
        blue |= (number >> (3 * bit + 2) & 1) << (7 - bit)
    return red, green, blue


class VocLayout(Layout):
    """`JPEGImages`, `SegmentationClass` and `ImageSets/Segmentation`, in the root or in its `VOC2012` or
    `VOCdevkit/VOC2012`. Every image is its own source; images that no list in use names are unlabelled.

    `train` and `train_aug` (masks in `SegmentationClassAug`) validate on `val.txt`; `trainval` leaves it to the split.
    """

    def __init__(self, train_set: str = "train") -> None:
        if train_set not in TRAIN_SETS:
            raise ConfigError(f"data.layout.train_set is {train_set!r}; it must be one of {', '.join(TRAIN_SETS)}.")
        self.train_set = train_set

    def scan(self, root: Path) -> PatchIndex:
        places: list[Place] = []
        base = self._base(root)
        images = list_folder(root, base / "JPEGImages", NamePattern("", "", IMAGE_SUFFIXES), places)
        mask_place = np.full(len(images.stems), -1, dtype=np.int32)
        subset = np.full(len(images.stems), FREE, dtype=np.int8)
        for name, value in self._lists().items():
            path = self._list_path(base, name)
            check_stays_inside(root, path)
            listed = self._listed(path, images)
            mask_place[listed] = self._mask_places(root, path, base / self._mask_folder(name), images, listed, places)
            subset[listed] = value
        sources, source_id = number_sources(images.stems)
        return PatchIndex(
            root=root,
            sources=sources,
            source_id=source_id,
            subset=subset,
            stems=images.stems,
            places=places,
            image_place=images.place,
            mask_place=mask_place,
        )

    def _lists(self) -> dict[str, int]:
        """Lists in use and the subset that they fix. `val` comes last: it wins over a list that repeats its images."""
        return {"trainval": FREE} if self.train_set == "trainval" else {self.train_set: TRAIN, "val": VAL}

    @staticmethod
    def _mask_folder(name: str) -> str:
        return "SegmentationClassAug" if name == "train_aug" else "SegmentationClass"

    @staticmethod
    def _list_path(base: Path, name: str) -> Path:
        return base / "ImageSets" / "Segmentation" / f"{name}.txt"

    @staticmethod
    def _listed(path: Path, images: Listing) -> NDArray[np.intp]:
        """Positions of the images that a list names. Raises DataError for one that is not there."""
        remedy = "Put the list there or choose another data.layout.train_set."
        # Some lists of train_aug hold two paths a line, image and mask; the stem of the first is what both share.
        entries = [Entry(entry.line, entry.text.split()[0]) for entry in read_list(path, remedy)]
        for entry in entries:
            check_inside(path, entry, remedy, rooted=True)
        stems = np.array([os.fsencode(entry.path.stem) for entry in entries], dtype=np.bytes_)
        known = np.isin(stems, images.stems)
        if not len(stems) or not known.all():
            got = f"names {os.fsdecode(stems[~known][0])!r}, which is not in JPEGImages" if len(stems) else "is empty"
            raise DataError(f"{path} {got}. Complete the images or correct the list.")
        return np.unique(np.searchsorted(images.stems, stems))

    @staticmethod
    def _mask_places(
        root: Path, path: Path, folder: Path, images: Listing, listed: NDArray[np.intp], places: list[Place]
    ) -> NDArray[np.int32]:
        """Places of the listed images' masks. Raises DataError for one without a mask."""
        masks = list_folder(root, folder, NamePattern("", "", (".png",)), places)
        wanted = images.stems[listed]
        lacking = wanted[~np.isin(wanted, masks.stems)]
        if len(lacking):
            raise DataError(
                f"{folder / os.fsdecode(lacking[0])}.png does not exist, though {path} names it ({len(lacking)} masks "
                "are missing). Complete the masks or choose another data.layout.train_set."
            )
        return masks.place[np.searchsorted(masks.stems, wanted)]

    @staticmethod
    def _base(root: Path) -> Path:
        check_root(root)
        for base in (root, root / "VOC2012", root / "VOCdevkit" / "VOC2012"):
            if (base / "JPEGImages").is_dir():
                return base
        raise DataError(
            f"{root} is no VOC folder: it holds {subfolders(root)}, not JPEGImages. "
            "Give the folder VOC2012 with data.root=PATH."
        )

    def classes(self, root: Path, class_mapping: str | None) -> ClassMap:
        """The 21 classes of VOC unless a mapping is given."""
        if class_mapping is None:
            return ClassMap(NAMES, tuple(voc_color(number) for number in range(len(NAMES))))
        return read_class_mapping(Path(class_mapping).expanduser())

    def folders(self, root: Path) -> list[Path]:
        base = self._base(root)
        names = self._lists()
        paths = [base / "JPEGImages", *(base / folder for folder in {self._mask_folder(n): None for n in names})]
        paths += [self._list_path(base, name) for name in names]
        return [path for path in paths if path.exists()]
