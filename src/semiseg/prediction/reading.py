"""Images on their way: opened and read ahead by threads, their tiles put into full batches."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import product
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from semiseg.data.header import header_of
from semiseg.errors import DataError
from semiseg.prediction.images import Source
from semiseg.prediction.inputs import Item
from semiseg.prediction.mosaic import Mosaic
from semiseg.prediction.planes import Planes
from semiseg.prediction.sources import is_raster
from semiseg.prediction.tiling import Axis, lay_out

UInt8 = NDArray[np.uint8]
Flags = NDArray[np.bool_]
A = TypeVar("A")
R = TypeVar("R")

READ_AHEAD_BYTES = 2**28  # of opened images that wait for their turn
WAITING_BATCHES = 8  # of tiles of all sizes together, before one goes in that is not full


@dataclass(frozen=True)
class Tiling:
    """Sizes in pixels; `batch` counts tiles of the full size, and smaller ones go in by the same number of pixels."""

    tile: int = 512
    overlap: int = 128
    batch: int = 8

    def full_batch(self, height: int, width: int) -> int:
        return max(1, self.batch * self.tile**2 // (height * width))


@dataclass
class Job:
    """An image on its way."""

    item: Item
    source: Source
    rows: Axis
    columns: Axis
    planes: Planes | None = None
    mosaic: Mosaic | None = None

    @property
    def single(self) -> bool:
        return len(self.rows) == len(self.columns) == 1

    def first_row(self, finished: int) -> int:
        """The row of tiles from which to go on so that nothing is missing below `finished` rows of pixels."""
        reaching = (n for n, start in enumerate(self.rows.starts) if start + self.rows.size > finished)
        return next(reaching, len(self.rows) - 1)


@dataclass(frozen=True)
class Tile:
    """A window of an image, [h, w, 3]; without an image where it shows nothing but holes."""

    job: Job
    row: int
    column: int
    image: UInt8 | None
    valid: Flags | None = field(repr=False)

    @property
    def kind(self) -> tuple[int, int, bool]:
        """Tiles of one kind share a batch."""
        return self.job.rows.size, self.job.columns.size, self.job.single

    @property
    def pixels(self) -> int:
        return self.job.rows.size * self.job.columns.size


@dataclass(frozen=True)
class Refused:
    """An image that cannot be opened, and why."""

    item: Item
    error: DataError


@dataclass(frozen=True)
class Hooks:
    """What the pipeline asks of its caller; `open` and `finish` are called from threads."""

    open: Callable[[Item], Source]
    planes: Callable[[Job], tuple[Planes, int]]  # where they go, and the rows that are finished already
    finish: Callable[[Job], object]
    failed: Callable[[Item, DataError], object]
    advance: Callable[[float, int], object]  # share of an image, and its pixels


def read_tiles(
    pool: ThreadPoolExecutor, items: Iterable[Item], tiling: Tiling, hooks: Hooks, num_classes: int,
    device: torch.device,
) -> Iterator[Tile]:  # fmt: skip
    """The tiles of one image after the other, read ahead."""
    limit = ReadAhead(tiling)
    for opened in prefetched(pool, lambda item: _open(item, tiling, hooks), items, limit, decoded_bytes):
        if isinstance(opened, Refused):
            hooks.failed(opened.item, opened.error)
            hooks.advance(1, 0)
            continue
        job, tile = opened
        limit.saw(job)
        job.planes, finished = hooks.planes(job)
        if tile is not None:
            yield tile
            continue
        job.mosaic = Mosaic(job.rows, job.columns, num_classes, device)
        first = job.first_row(finished)
        hooks.advance(job.rows.starts[first] / job.source.height, 0)
        places = product(range(first, len(job.rows)), range(len(job.columns)))
        yield from prefetched(pool, lambda place, job=job: read_tile(job, *place), places, lambda: 2 * tiling.batch)


def _open(item: Item, tiling: Tiling, hooks: Hooks) -> tuple[Job, Tile | None] | Refused:
    """A job, with its tile where there is just one: decoding is all the work then."""
    try:
        source = hooks.open(item)
    except DataError as error:
        return Refused(item, error)
    rows, columns = (lay_out(side, tiling.tile, tiling.overlap) for side in (source.height, source.width))
    job = Job(item, source, rows, columns)
    return job, read_tile(job, 0, 0) if job.single else None


def read_tile(job: Job, row: int, column: int) -> Tile:
    top, left = job.rows.starts[row], job.columns.starts[column]
    image, valid = job.source.read(top, left, job.rows.size, job.columns.size)
    if valid is not None and not valid.any():
        return Tile(job, row, column, None, None)
    return Tile(job, row, column, image, valid)


class ReadAhead:
    """How many images are opened ahead: two batches of such as the last one."""

    def __init__(self, tiling: Tiling) -> None:
        self.tiling, self.images = tiling, 1

    def saw(self, job: Job) -> None:
        self.images = 2 * self.tiling.full_batch(job.rows.size, job.columns.size)

    def __call__(self) -> int:
        return self.images


def decoded_bytes(item: Item) -> int:
    """What an image takes in memory once it is opened, by its header; a raster nothing, it is read by windows."""
    header = None if is_raster(item.path) else header_of(item.path)
    return 0 if header is None else 3 * header.width * header.height


def prefetched(
    pool: ThreadPoolExecutor, function: Callable[[A], R], arguments: Iterable[A], limit: Callable[[], int],
    size: Callable[[A], int] = lambda _: 0,
) -> Iterator[R]:  # fmt: skip
    """`map` in order, with up to `limit()` results ahead, and no more than READ_AHEAD_BYTES of them by their `size`."""
    waiting: deque[tuple[Future[R], int]] = deque()
    held = 0

    def first() -> R:
        nonlocal held
        future, taken = waiting.popleft()
        held -= taken
        return future.result()

    for argument in arguments:
        taken = size(argument)
        while waiting and held + taken > READ_AHEAD_BYTES:
            yield first()
        waiting.append((pool.submit(function, argument), taken))
        held += taken
        while len(waiting) > limit():
            yield first()
    while waiting:
        yield first()


def full_batches(tiles: Iterable[Tile], tiling: Tiling) -> Iterator[list[Tile]]:
    """Tiles of one size in batches, full ones while there are enough; images of one size share them."""
    waiting: dict[tuple[int, int, bool], list[Tile]] = {}
    held, most = 0, WAITING_BATCHES * tiling.batch * tiling.tile**2
    for tile in tiles:
        group = waiting.setdefault(tile.kind, [])
        group.append(tile)
        held += tile.pixels
        full = sum(tile.image is not None for tile in group) == tiling.full_batch(*tile.kind[:2])
        if full or held > most:
            batch = waiting.pop(tile.kind if full else next(iter(waiting)))
            held -= len(batch) * batch[0].pixels
            yield batch
    yield from waiting.values()
