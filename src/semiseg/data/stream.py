"""Endless shuffled walks over pools of patches, without state: a position alone says which patch and which randomness.

So a run resumes exactly where it stopped, with any number of workers and also with another batch size.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from functools import cached_property
from typing import Any, Literal

import numpy as np
from torch.utils.data import Sampler

from semiseg.data.handover import Handle, from_handle, to_handle

Pool = Literal["labeled", "unlabeled", "real"]
STREAM_IDS: dict[Pool, int] = {"labeled": 0, "unlabeled": 1, "real": 2}


class Draw(IntEnum):
    """What a generator is for; keeps epoch 7, position 7 and the batch that starts at 7 from sharing numbers."""

    ORDER = 0
    AUGMENT = 1
    BATCH_SIDE = 2


def generator_at(seed: int, stream_id: int, draw: Draw, number: int) -> np.random.Generator:
    """The generator that belongs to an epoch, position or batch of a stream."""
    return np.random.default_rng([seed, stream_id, draw, number])


class Stream:
    """A walk over `patches` in which every epoch is another permutation of all of them.

    Position p is entry p mod n of epoch p div n. Only the current epoch's permutation is kept: 8 bytes a patch.
    """

    def __init__(self, patches: np.ndarray, seed: int, stream_id: int) -> None:
        self.patches = patches
        self.seed = seed
        self.stream_id = stream_id
        self._epoch = -1
        self._order = patches[:0]

    @cached_property
    def _handle(self) -> Handle:
        return to_handle(self.patches)

    def __getstate__(self) -> dict[str, Any]:
        return {"patches": self._handle, "seed": self.seed, "stream_id": self.stream_id}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(from_handle(state["patches"]), state["seed"], state["stream_id"])

    def patch_at(self, position: int) -> int:
        """Number of the patch at a position from 0 on."""
        epoch, entry = divmod(position, len(self.patches))
        if epoch != self._epoch:
            self._order = generator_at(self.seed, self.stream_id, Draw.ORDER, epoch).permutation(self.patches)
            self._epoch = epoch
        return int(self._order[entry])


class BatchSampler(Sampler[list[int]]):
    """Batches of consecutive positions from `start` on, without end."""

    def __init__(self, batch_size: int, start: int = 0) -> None:
        self.batch_size = batch_size
        self.start = start

    def __iter__(self) -> Iterator[list[int]]:
        position = self.start
        while True:
            yield list(range(position, position + self.batch_size))
            position += self.batch_size
