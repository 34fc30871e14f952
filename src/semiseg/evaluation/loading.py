"""The patches of a pool in batches, with the size that each has without the padding."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from semiseg.data.build import DataBundle
from semiseg.data.dataset import EvalDataset, PatchReader, Sample, collate_padded
from semiseg.data.loader import MAX_EVAL_WORKERS, SampleLoader, init_worker
from semiseg.errors import DataError


class EvalBatch(NamedTuple):
    """Whole patches, padded at the bottom and right to the largest: images with 0, masks with 255."""

    image: Tensor  # [B, 3, H, W] uint8 RGB
    mask: Tensor  # [B, H, W] uint8, 255 = ignored
    sizes: Tensor  # [B, 2] int64 height and width of each without the padding
    failed: Tensor  # [F] int64 numbers of the patches that could not be read (data.on_error=skip)


def collate_with_sizes(samples: list[Sample | DataError]) -> EvalBatch | DataError:
    """As the evaluations of a training are collated, so that the network sees the same batches, with the sizes."""
    padded = collate_padded(samples)
    if isinstance(padded, DataError):
        return padded
    sizes = [tuple(sample.mask.shape) for sample in samples if isinstance(sample, Sample)]
    return EvalBatch(padded.image, padded.mask, torch.tensor(sizes), padded.failed)


def batches_of(bundle: DataBundle, patches: np.ndarray, batch_size: int, device: torch.device) -> Iterable[EvalBatch]:
    """`EvalBatch`es of the patches, in order. Raises DataError for a patch that cannot be read."""
    workers = 0 if device.type == "cpu" else MAX_EVAL_WORKERS  # beside a network on the same cores they gain nothing
    reader = PatchReader(bundle.index, bundle.classes, with_masks=True)
    return SampleLoader(  # pyright: ignore[reportReturnType]  (a Sample in the loader's own words)
        EvalDataset(reader, patches, skip_unreadable=bundle.config.on_error == "skip"),
        batch_size=batch_size,
        collate_fn=collate_with_sizes,
        num_workers=workers,
        pin_memory=device.type == "cuda",
        worker_init_fn=init_worker,
        generator=torch.Generator(),
    )


def of_one_size(batch: EvalBatch) -> Iterator[tuple[EvalBatch, Tensor]]:
    """A batch as one batch a size, none of them padded, each with the places [n] of its patches in the batch."""
    for height, width in sorted(set(map(tuple, batch.sizes.tolist()))):
        rows = (batch.sizes == torch.tensor([height, width])).all(1).nonzero()[:, 0]
        image, mask = batch.image[rows, :, :height, :width], batch.mask[rows, :height, :width]
        yield EvalBatch(image, mask, batch.sizes[rows], batch.failed), rows
