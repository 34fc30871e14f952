"""The list of patches of a data set, in NumPy columns.

Hundreds of thousands of paths as Python objects would be copied into every loader process; as columns they take about
60 bytes a patch.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from semiseg.data.handover import Handle, from_handle, to_handle
from semiseg.files import write_atomically

FORMAT = 1  # of the cached file

CLOCK_TICK = 2.0  # seconds; that of FAT, the coarsest of the file systems in use

FREE, TRAIN, VAL = 0, 1, 2  # values of PatchIndex.subset


@dataclass(frozen=True, eq=False)
class PatchIndex:
    """Patches of a data set, in an order that does not depend on the file system.

    A file is `root / (prefix + stem + ending)`, where `places` lists the (prefix, ending) pairs in use, such as
    ("dubai-1/images/", ".jpg"). A source is the base image that a patch was cut from.
    """

    root: Path
    sources: list[str]
    source_id: NDArray[np.int32]  # [N] into `sources`
    subset: NDArray[np.int8]  # [N] FREE, or TRAIN / VAL where the layout fixes it
    stems: NDArray[np.bytes_]  # [N]
    places: list[tuple[str, str]]
    image_place: NDArray[np.int32]  # [N] into `places`
    mask_place: NDArray[np.int32]  # [N] into `places`, -1 = no mask

    def __len__(self) -> int:
        return len(self.stems)

    @cached_property
    def _handles(self) -> dict[str, Handle]:
        names = json.dumps([self.sources, self.places]).encode()
        columns = {name: to_handle(getattr(self, name)) for name in COLUMNS}
        return columns | {"names": to_handle(np.frombuffer(names, dtype=np.uint8))}

    def __getstate__(self) -> dict[str, Any]:
        return {"root": self.root, "columns": self._handles}

    def __setstate__(self, state: dict[str, Any]) -> None:
        columns = {name: from_handle(handle) for name, handle in state["columns"].items()}
        sources, places = json.loads(columns.pop("names").tobytes())
        self.__dict__.update(columns, root=state["root"], sources=sources, places=[tuple(place) for place in places])

    @cached_property
    def has_mask(self) -> NDArray[np.bool_]:
        """[N]"""
        return self.mask_place >= 0

    def name(self, patch: int) -> str:
        """The image's path below the root without its ending, for messages."""
        prefix, _ = self.places[self.image_place[patch]]
        return prefix + os.fsdecode(self.stems[patch])

    def image_path(self, patch: int) -> Path:
        return self._path(patch, self.image_place[patch])

    def mask_path(self, patch: int) -> Path | None:
        """None for a patch without a mask."""
        place = self.mask_place[patch]
        return None if place < 0 else self._path(patch, place)

    def _path(self, patch: int, place: int) -> Path:
        prefix, ending = self.places[place]
        return self.root / f"{prefix}{os.fsdecode(self.stems[patch])}{ending}"

    def fingerprint(self) -> str:
        """16 hex digits over names, masks, sources and fixed subsets. The root is left out: data may move."""
        columns = (self.source_id, self.subset, self.image_place, self.mask_place)
        digest = hashlib.blake2b(digest_size=8)
        digest.update(json.dumps([self.sources, self.places, self.stems.dtype.itemsize]).encode())
        digest.update(np.ascontiguousarray(self.stems).tobytes())
        for column in columns:
            digest.update(np.ascontiguousarray(column).tobytes())
        return digest.hexdigest()

    def save(self, path: Path, key: str = "") -> None:
        """Write an npz without pickles; `key` says what state of the data set it describes."""
        header = json.dumps({"format": FORMAT, "key": key, "sources": self.sources, "places": self.places})
        columns = {name: getattr(self, name) for name in COLUMNS}
        write_atomically(
            path, lambda file: np.savez(file, header=np.frombuffer(header.encode(), dtype=np.uint8), **columns)
        )

    @classmethod
    def load(cls, path: Path, root: Path, key: str = "") -> PatchIndex:
        """Raises ValueError for a file of another format or with another key."""
        # np.load leaves a damaged file open when it is given a path, and Windows then refuses to replace it.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            header = json.loads(file["header"].tobytes())
            if header["format"] != FORMAT or header["key"] != key:
                raise ValueError(f"{path} describes another state of the data")
            columns = {name: file[name] for name in COLUMNS}
        places = [(prefix, ending) for prefix, ending in header["places"]]
        return cls(root=root, sources=header["sources"], places=places, **columns)


COLUMNS = ("source_id", "subset", "stems", "image_place", "mask_place")


def cached_index(
    scan: Callable[[Path], PatchIndex], root: Path, cache_dir: Path, key: str, age: float = math.inf
) -> PatchIndex:
    """The index of `root`, from the cache while `key` (its layout and the times of its folders) is unchanged.

    `age` is for how many seconds the data has not changed. A young index is not kept: the next file could come within
    the same tick of the file system's clock, and the key would not tell. An unreadable or outdated cache is rebuilt.
    One that cannot be written only costs time, so that is no error.
    """
    path = cache_dir / f"index-{short_hash(str(root))}.npz"
    with contextlib.suppress(Exception):  # a damaged file can raise anything, NotImplementedError of zipfile included
        return PatchIndex.load(path, root, key)
    index = scan(root)
    if age >= CLOCK_TICK:
        with contextlib.suppress(OSError):
            index.save(path, key)
    return index


def short_hash(text: str) -> str:
    """16 hex digits."""
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
