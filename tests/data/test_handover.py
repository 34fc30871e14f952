"""What a spawned loader process is sent fits into a pipe, whatever the size of the data set."""

from __future__ import annotations

import copy
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np

from semiseg.data.index import COLUMNS, PatchIndex
from semiseg.data.stream import Stream

PIPE = 4096  # bytes; those of Windows hold the least


def test_an_index_and_a_stream_arrive_whole_and_weigh_nothing() -> None:
    count = 50_000
    numbers = np.arange(count, dtype=np.int32)
    index = PatchIndex(
        root=Path("somewhere"),
        sources=[f"flight_\u00e4\udcff_{number}" for number in range(9000)],  # one a photograph, as in VOC
        source_id=numbers % 9000,
        subset=(numbers % 3).astype(np.int8),
        stems=np.char.mod("patch%d", numbers).astype(bytes),
        places=[("images/", ".png"), ("masks/", ".png")],
        image_place=0 * numbers,
        mask_place=numbers % 2,
    )
    stream = Stream(np.random.default_rng(0).permutation(count), seed=3, stream_id=1)
    message = ForkingPickler.dumps((index, stream))
    assert len(message) < PIPE
    got, walk = ForkingPickler.loads(message)
    assert (got.root, got.sources, got.places) == (index.root, index.sources, index.places)
    for name in COLUMNS:
        assert getattr(got, name).dtype == getattr(index, name).dtype
        np.testing.assert_array_equal(getattr(got, name), getattr(index, name))
    assert got.fingerprint() == copy.deepcopy(index).fingerprint() == index.fingerprint()
    assert got.image_path(7) == index.image_path(7) and got.mask_path(7) == index.mask_path(7)
    assert [walk.patch_at(n) for n in range(9)] == [stream.patch_at(n) for n in range(9)]
