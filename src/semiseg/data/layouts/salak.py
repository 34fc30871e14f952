"""Patches cut from drone images, in folders of flights: the layout of the Salak data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from semiseg.data.classes import ClassMap, read_class_mapping
from semiseg.data.index import FREE, PatchIndex
from semiseg.data.layouts.base import IMAGE_SUFFIXES, Layout, check_root, subfolders
from semiseg.data.layouts.links import check_stays_inside
from semiseg.data.layouts.listing import (
    Listing,
    NamePattern,
    Place,
    check_unique,
    list_folder,
    number_sources,
    pair_masks,
    prefix_of,
)
from semiseg.errors import ConfigError, DataError

ONE_IMAGE_A_NAME = "Keep one of them."


class SalakLayout(Layout):
    """`<root>/<folder>/images/<source>_patch_<row>_<col>.png` with `masks/` of the same stem beside `images/`.

    A patch without a mask is unlabelled. Classes come from `<root>/class_mapping.csv` unless another file is given.
    """

    def __init__(
        self,
        folders: str = "*-*",
        image_suffixes: Sequence[str] = IMAGE_SUFFIXES,
        separator: str = "_patch_",
    ) -> None:
        pattern = PurePosixPath(folders.replace("\\", "/"))
        if not pattern.parts or pattern.is_absolute() or ".." in pattern.parts or ":" in folders:
            raise ConfigError(f"data.layout.folders is {folders!r}; it must lie below the root, such as '*-*'.")
        self.folder_pattern = folders
        self.image_suffixes = tuple(suffix.lower() for suffix in image_suffixes)
        self.separator = separator

    def scan(self, root: Path) -> PatchIndex:
        pattern = NamePattern("", "", self.image_suffixes)
        places: list[Place] = []
        parts = [self._scan_folder(root, folder, pattern, places) for folder in self._patch_folders(root)]
        parts = [(images, masks) for images, masks in parts if len(images.stems)]
        if not parts:
            raise DataError(
                f"{root}: the images folders of {self.folder_pattern!r} hold no file ending in "
                f"{', '.join(self.image_suffixes)}. Put the patches there or give data.root=PATH."
            )
        stems = np.concatenate([images.stems for images, _ in parts])
        sources, source_id = number_sources(prefix_of(stems, self.separator))
        return PatchIndex(
            root=root,
            sources=sources,
            source_id=source_id,
            subset=np.full(len(stems), FREE, dtype=np.int8),
            stems=stems,
            places=places,
            image_place=np.concatenate([images.place for images, _ in parts]),
            mask_place=np.concatenate([masks for _, masks in parts]),
        )

    @staticmethod
    def _scan_folder(root: Path, folder: Path, pattern: NamePattern, places: list[Place]) -> tuple[Listing, np.ndarray]:
        images = list_folder(root, folder / "images", pattern, places)
        masks = list_folder(root, folder / "masks", pattern, places)
        check_unique(root, images, places, ONE_IMAGE_A_NAME)
        check_unique(root, masks, places, ONE_IMAGE_A_NAME)
        return images, pair_masks(root, images, masks, places)

    def _patch_folders(self, root: Path) -> list[Path]:
        check_root(root)
        found = sorted(path.parent for path in root.glob(f"{self.folder_pattern}/images") if path.is_dir())
        if not found:
            raise DataError(
                f"{root} has no patch folder: nothing matches {self.folder_pattern}/images; it holds "
                f"{subfolders(root)}. Give the folder above the patch folders with data.root=PATH, another pattern "
                "with data.layout.folders='*', or use data=folder."
            )
        return found

    def classes(self, root: Path, class_mapping: str | None) -> ClassMap:
        if class_mapping is None:
            check_stays_inside(root, root / "class_mapping.csv")
            return read_class_mapping(root / "class_mapping.csv")
        return read_class_mapping(Path(class_mapping).expanduser())

    def folders(self, root: Path) -> list[Path]:
        beside = [folder / name for folder in self._patch_folders(root) for name in ("images", "masks")]
        return [root, *(path for path in beside if path.is_dir())]
