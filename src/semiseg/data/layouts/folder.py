"""Any two sets of images and masks, found by globs."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from semiseg.data.classes import ClassMap, read_class_mapping
from semiseg.data.index import FREE, PatchIndex
from semiseg.data.layouts.base import IMAGE_SUFFIXES, Layout, check_root, subfolders
from semiseg.data.layouts.listing import (
    Listing,
    NamePattern,
    Place,
    check_unique,
    file_path,
    list_folder,
    merge,
    number_sources,
    pair_masks,
    prefix_of,
)
from semiseg.errors import ConfigError, DataError


class FolderLayout(Layout):
    """Images and masks by globs below the root, such as `images/*` and `masks/*`, or `tiles/*_sat.jpg` and
    `tiles/*_mask.png`. What the `*` of the file name stands for pairs an image with its mask.

    The source of an image is what precedes `separator` in its name; with `source_pattern`, a regular expression, it is
    the first group (or the whole match) instead. An image without the separator is its own source.
    """

    def __init__(
        self,
        images: str = "images/*",
        masks: str = "masks/*",
        image_suffixes: Sequence[str] = IMAGE_SUFFIXES,
        separator: str = "_patch_",
        source_pattern: str | None = None,
    ) -> None:
        suffixes = tuple(suffix.lower() for suffix in image_suffixes)
        self.images = _Glob.parse(images, suffixes, "data.layout.images")
        self.masks = _Glob.parse(masks, suffixes, "data.layout.masks")
        self.separator = separator
        try:
            self.source_pattern = None if source_pattern is None else re.compile(source_pattern)
        except re.error as error:
            raise ConfigError(
                f"data.layout.source_pattern {source_pattern!r} is no regular expression: {error}."
            ) from error

    def scan(self, root: Path) -> PatchIndex:
        check_root(root)
        places: list[Place] = []
        images, masks = self.images.list_files(root, places), self.masks.list_files(root, places)
        if not len(images.stems):
            raise DataError(
                f"{root} has no image that matches {self.images.text}; it holds {subfolders(root)}. "
                "Give data.root=PATH or another glob with data.layout.images='GLOB'."
            )
        for listing in (images, masks):
            check_unique(
                root, listing, places, "Give every image a name of its own, or narrow the glob in data.layout."
            )
        sources, source_id = number_sources(self._sources(root, images, places))
        return PatchIndex(
            root=root,
            sources=sources,
            source_id=source_id,
            subset=np.full(len(images.stems), FREE, dtype=np.int8),
            stems=images.stems,
            places=places,
            image_place=images.place,
            mask_place=pair_masks(root, images, masks, places),
        )

    def _sources(self, root: Path, images: Listing, places: list[Place]) -> NDArray[np.bytes_]:
        if self.source_pattern is None:
            return prefix_of(images.stems, self.separator)
        sources = [self.source_pattern.search(os.fsdecode(stem)) for stem in images.stems.tolist()]
        for entry, match in enumerate(sources):
            if match is None:
                raise DataError(
                    f"{file_path(root, images, places, entry)}: the name does not match data.layout.source_pattern "
                    f"{self.source_pattern.pattern!r}, so its base image is unknown. Correct the pattern."
                )
        group = 1 if self.source_pattern.groups else 0
        return np.array([os.fsencode(match[group]) for match in sources if match], dtype=np.bytes_)

    def classes(self, root: Path, class_mapping: str | None) -> ClassMap:
        if class_mapping is None:
            raise DataError(
                f"{root}: no class mapping was given. Name a CSV of class_name,class_color with "
                "data.class_mapping=PATH."
            )
        return read_class_mapping(Path(class_mapping).expanduser())

    def folders(self, root: Path) -> list[Path]:
        check_root(root)
        matching = [folder for glob in (self.images, self.masks) for folder in glob.matching_folders(root)]
        above = [folder.parent for folder in matching if folder != root]
        return sorted({root, *above, *matching})


@dataclass(frozen=True)
class _Glob:
    """A glob of files: which folders, and which of their files."""

    text: str
    parent: str
    name: NamePattern

    @classmethod
    def parse(cls, text: str, suffixes: tuple[str, ...], where: str) -> _Glob:
        path = PurePosixPath(text.replace("\\", "/"))
        if path.is_absolute() or ".." in path.parts or ":" in text:
            raise ConfigError(f"{where} is {text!r}; it must lie below the root, such as images/*. Move data.root up.")
        return cls(text, str(path.parent), NamePattern.parse(path.name, suffixes, where))

    def matching_folders(self, root: Path) -> list[Path]:
        if self.parent == ".":
            return [root]
        return sorted(path for path in root.glob(self.parent) if path.is_dir())

    def list_files(self, root: Path, places: list[Place]) -> Listing:
        return merge([list_folder(root, folder, self.name, places) for folder in self.matching_folders(root)])
