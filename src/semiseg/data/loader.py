"""DataLoaders over the pools of a run. None of them touches PyTorch's global random state."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from multiprocessing.process import BaseProcess

import numpy as np
import torch
from torch.utils.data import DataLoader

from semiseg.aug import Augment
from semiseg.data.build import DataBundle
from semiseg.data.dataset import EvalBatch, EvalDataset, PatchReader, Sample, TrainDataset, collate, collate_padded
from semiseg.data.stream import STREAM_IDS, BatchSampler, Pool, Stream
from semiseg.data.workers import failure_of, init_worker, new_workers
from semiseg.errors import DataError, SemisegError

MAX_EVAL_WORKERS = 2


class SampleLoader(DataLoader):
    """A DataLoader that raises the `DataError` a dataset returned, whichever process met it.

    Raises SemisegError with the likely cause when a worker dies.
    """

    def __iter__(self) -> Iterator[Sample]:  # pyright: ignore[reportIncompatibleMethodOverride]
        with new_workers() as workers:
            try:
                batches = super().__iter__()
            except OSError as error:  # no memory or no process left
                raise failure_of((), error) or error from None
        try:
            while True:
                item = self._next(batches, workers)
                if item is None:
                    return
                if isinstance(item, SemisegError):
                    raise type(item)(*item.args)  # `item` itself would grow a traceback each time it is raised
                yield item
        finally:
            self._iterator = None
            if self.num_workers:
                # Here, because a traceback may keep the iterator: collected later, it waits for 5 seconds a worker.
                batches._shutdown_workers()  # pyright: ignore[reportAttributeAccessIssue]

    def _next(self, batches: Iterator[Sample], workers: Sequence[BaseProcess]) -> Sample | SemisegError | None:
        """The next batch, what went wrong, or None at the end."""
        try:
            return next(batches, None)
        except Exception as error:
            failure = failure_of(workers, error) if self.num_workers else None
            if failure is None:
                raise
            return failure


def train_loader(
    bundle: DataBundle,
    *,
    pool: Pool,
    aug: Augment,
    crop_size: int,
    batch_size: int,
    seed: int,
    start: int = 0,
    num_workers: int = 0,
    pin_memory: bool = False,
    audit: bool = True,
    multiprocessing_context: str | None = None,
) -> SampleLoader:
    """Endless batches of a pool from position `start` on, the same for any number of workers.

    "real" is the labelled pool walked in another order. Masks of unlabelled patches are 255 unless `audit` asks for
    the hidden ones. Raises `DataError` for a pool smaller than a batch.
    """
    patches = bundle.pools.unlabeled if pool == "unlabeled" else bundle.pools.train
    check_pool(pool, len(patches), batch_size)
    reader = PatchReader(bundle.index, bundle.classes, with_masks=pool != "unlabeled" or audit)
    stream = Stream(patches, seed, STREAM_IDS[pool])
    skip = bundle.config.on_error == "skip"
    return SampleLoader(
        TrainDataset(reader, stream, aug, crop_size, skip_unreadable=skip),
        batch_sampler=BatchSampler(batch_size, start),
        collate_fn=collate,
        num_workers=num_workers,
        pin_memory=pin_memory,
        persistent_workers=num_workers > 0,
        worker_init_fn=init_worker,
        generator=torch.Generator(),
        multiprocessing_context=multiprocessing_context,
    )


def eval_loader(
    bundle: DataBundle,
    patches: np.ndarray,
    batch_size: int,
    num_workers: int = 0,
    pin_memory: bool = False,
    *,
    skip_unreadable: bool | None = None,
) -> Iterable[EvalBatch]:
    """The given patches whole and in order. Iterating raises `DataError` for one that cannot be read.

    Of `num_workers` at most two are started, anew for each evaluation: kept ones would hold memory beside those of the
    training pools for the whole run. `skip_unreadable` is what `data.on_error` says unless given.
    """
    reader = PatchReader(bundle.index, bundle.classes, with_masks=True)
    skip = bundle.config.on_error == "skip" if skip_unreadable is None else skip_unreadable
    return SampleLoader(  # pyright: ignore[reportReturnType]  (a Sample in the loader's own words)
        EvalDataset(reader, patches, skip_unreadable=skip),
        batch_size=batch_size,
        collate_fn=collate_padded,
        num_workers=min(num_workers, MAX_EVAL_WORKERS),
        pin_memory=pin_memory,
        worker_init_fn=init_worker,
        generator=torch.Generator(),
    )


def fixed_train_subset(bundle: DataBundle, size: int, seed: int) -> np.ndarray:
    """Up to `size` labelled training patches [n] int64, evaluated beside the validation pool to measure the gap."""
    train = bundle.pools.train
    chosen = np.random.default_rng(seed).choice(train, size=min(size, len(train)), replace=False)
    return np.sort(chosen)


def check_pool(pool: Pool, size: int, batch_size: int, smallest: int = 1) -> None:
    """Raises DataError for a pool that does not fill a batch; `smallest` is the least that the network trains on."""
    if size >= batch_size:
        return
    if pool == "unlabeled" and size == 0:
        raise DataError(
            "there are no unlabelled patches: add images without masks, name fewer sources in data.labeled_list, or "
            "train on the labels alone with pseudo_label=none, or, with a teacher, pseudo_label.unlabeled=false"
        )
    kind, setting = ("unlabelled", "unlabeled_batch_size") if pool == "unlabeled" else ("labelled", "batch_size")
    if size < smallest:
        raise DataError(f"{size} {kind} patches are too few: this network trains on batches of {smallest} or more")
    raise DataError(f"{size} {kind} patches do not fill a batch of {batch_size}: use trainer.{setting}={size} or less")
