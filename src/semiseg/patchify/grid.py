"""Where patches lie on a base image, and how their names say it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

SEPARATOR = "_patch_"
NAME = re.compile(rf"(?P<source>.+?){SEPARATOR}(?P<top>\d+)_(?P<left>\d+)")


@dataclass(frozen=True)
class Spot:
    """A patch: `<source>_patch_<top>_<left>`, the pixels of its corner in the base image."""

    source: str
    top: int
    left: int

    @property
    def name(self) -> str:
        return f"{self.source}{SEPARATOR}{self.top:05d}_{self.left:05d}"

    @classmethod
    def of(cls, name: str) -> Spot | None:
        """What a name says, None for any other name."""
        match = NAME.fullmatch(name)
        return cls(match["source"], int(match["top"]), int(match["left"])) if match else None


def starts(length: int, size: int, stride: int) -> list[int]:
    """Where patches start along a side: every `stride` pixels, the last at the border; one for a shorter side."""
    if length <= size:
        return [0]
    return [*range(0, length - size, stride), length - size]


def spots(source: str, height: int, width: int, size: int, stride: int) -> Iterator[Spot]:
    """The patches of a base image, row by row."""
    for top in starts(height, size, stride):
        for left in starts(width, size, stride):
            yield Spot(source, top, left)


def shares(length: int, size: int, stride: int) -> list[tuple[int, int]]:
    """The pixels that each patch along a side has for itself: overlaps are cut in the middle, to be put together."""
    firsts = starts(length, size, stride)
    middles = [(first + min(size, length) + following) // 2 for first, following in pairwise(firsts)]
    return list(zip([0, *middles], [*middles, length], strict=True))
