"""Reading, the network and writing beside one another: threads read ahead, full batches go in, threads write."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from semiseg.data.classes import ClassMap
from semiseg.engine.memory import told_as
from semiseg.errors import SemisegError
from semiseg.prediction.inputs import Item
from semiseg.prediction.mosaic import decide, without_holes
from semiseg.prediction.reading import Hooks, Job, Tile, Tiling, full_batches, read_tiles

UInt8 = NDArray[np.uint8]

MIN_SIDE = 64  # pixels a network takes; smaller images are mirrored up to it


class Predictor(Protocol):
    """Anything with classes that makes uint8 RGB [B, 3, H, W] into probabilities [B, C, H, W]."""

    @property
    def classes(self) -> ClassMap: ...
    def probabilities(self, images: Tensor, /) -> Tensor: ...


def run_pipeline(
    predictor: Predictor, items: Iterable[Item], tiling: Tiling, hooks: Hooks, device: torch.device, threads: int
) -> None:
    """Predict every item. Images that cannot be opened are reported to `hooks.failed` and passed over.

    Raises SemisegError where the device's memory does not suffice.
    """
    cv2.setNumThreads(0)  # the threads below are enough
    readers, writers = ThreadPoolExecutor(threads), ThreadPoolExecutor(threads)
    try:
        finishing = Finishing(writers, hooks, limit=4 * threads)
        pending: Pending | None = None
        read = read_tiles(readers, items, tiling, hooks, predictor.classes.num_classes, device)
        for tiles in full_batches(read, tiling):
            with told_as(partial(out_of_memory, tiling), device):
                probabilities = infer(predictor, tiles, device)
            if tiles[0].job.single:
                previous, pending = pending, Pending(tiles, probabilities)
                collect(previous, finishing)
            else:
                blend(tiles, probabilities, finishing)
        collect(pending, finishing)
        finishing.wait(0)
    finally:
        readers.shutdown(cancel_futures=True)
        writers.shutdown(cancel_futures=True)


def out_of_memory(tiling: Tiling) -> SemisegError:
    """What to call with instead."""
    remedy = f"batch={tiling.batch // 2} or less: images that are finished are not predicted again"
    if tiling.batch == 1:
        tile, overlap = tiling.tile // 2, min(tiling.overlap, tiling.tile // 8)
        remedy = f"tile={tile} overlap={overlap} and another out=: a folder holds predictions of one size of tiles"
    return SemisegError(f"Out of memory with tile={tiling.tile} batch={tiling.batch}. Call again with {remedy}.")


def infer(predictor: Predictor, tiles: list[Tile], device: torch.device) -> Tensor | None:
    """Probabilities [b, C, h, w] of the b tiles that have an image; None where there is none."""
    images = [tile.image for tile in tiles if tile.image is not None]
    if not images:
        return None
    height, width, _ = images[0].shape
    border = [(0, max(0, MIN_SIDE - side)) for side in (height, width)]
    batch = np.stack(images)
    if any(after for _, after in border):
        batch = np.pad(batch, ((0, 0), *border, (0, 0)), mode="symmetric")
    tensor = torch.from_numpy(batch).permute(0, 3, 1, 2)
    probabilities = predictor.probabilities(tensor.pin_memory() if device.type == "cuda" else tensor)
    return probabilities[..., :height, :width].to(device)


def per_tile(tiles: list[Tile], values: Tensor | UInt8 | None) -> Iterator[tuple[Tile, Tensor | UInt8 | None]]:
    """Each tile with its entry of `values`, None for those without an image."""
    entries = iter(()) if values is None else iter(values)
    for tile in tiles:
        yield tile, None if tile.image is None else next(entries)


class Pending:
    """Decisions of a batch on their way from the device, so that the next batch is computed meanwhile."""

    def __init__(self, tiles: list[Tile], probabilities: Tensor | None) -> None:
        self.tiles = tiles
        self._event: torch.cuda.Event | None = None
        self._host = None if probabilities is None else decide(probabilities)
        if self._host is not None and self._host.is_cuda:
            decided = self._host
            self._host = torch.empty(decided.shape, dtype=decided.dtype, pin_memory=True)
            self._host.copy_(decided, non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record(torch.cuda.current_stream(decided.device))  # not that of the first GPU

    def arrived(self) -> UInt8 | None:
        """[b, 2, h, w], waited for."""
        if self._event is not None:
            self._event.synchronize()
        return None if self._host is None else self._host.numpy()


class Finishing:
    """Hands finished images to the writing threads, a limited number ahead; their errors are raised here."""

    def __init__(self, pool: ThreadPoolExecutor, hooks: Hooks, limit: int) -> None:
        self.pool, self.hooks, self.limit = pool, hooks, limit
        self._waiting: deque[Future[object]] = deque()

    def take(self, job: Job) -> None:
        self._waiting.append(self.pool.submit(self.hooks.finish, job))
        self.wait(self.limit)

    def wait(self, most: int) -> None:
        """Until no more than `most` images are being written."""
        while self._waiting and (len(self._waiting) > most or self._waiting[0].done()):
            self._waiting.popleft().result()


def collect(pending: Pending | None, finishing: Finishing) -> None:
    """Images of one tile are finished with it."""
    if pending is None:
        return
    for tile, planes in per_tile(pending.tiles, pending.arrived()):
        job = tile.job
        if planes is None:
            planes = np.full((2, job.source.height, job.source.width), 255, dtype=np.uint8)
        assert job.planes is not None
        job.planes.write(0, without_holes(np.asarray(planes), tile.valid))
        finishing.hooks.advance(1, job.source.height * job.source.width)
        finishing.take(job)


def blend(tiles: list[Tile], probabilities: Tensor | None, finishing: Finishing) -> None:
    """Add tiles to their mosaics; strips that are complete go to the image's part file."""
    for tile, values in per_tile(tiles, probabilities):
        job = tile.job
        assert job.mosaic is not None and job.planes is not None and not isinstance(values, np.ndarray)
        strip = job.mosaic.add(tile.row, tile.column, values, tile.valid)
        if strip is None:
            continue
        job.planes.write(job.rows.starts[tile.row], strip)
        height = strip.shape[1]
        finishing.hooks.advance(height / job.source.height, height * job.source.width)
        if tile.row + 1 == len(job.rows):
            job.mosaic = None
            finishing.take(job)
