"""Patches as uint8 tensors: augmented samples of a training stream, whole patches for evaluation.

What cannot be read is returned as a `DataError`, not raised: PyTorch would wrap an exception raised in a worker into a
traceback of its own. The loader raises it in the main process, as it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.data import Dataset, default_collate

from semiseg.aug import Augment
from semiseg.contracts import IGNORE_INDEX
from semiseg.data.classes import ClassMap
from semiseg.data.index import PatchIndex
from semiseg.data.masks import read_image, read_mask
from semiseg.data.stream import Draw, Stream, generator_at
from semiseg.errors import DataError

MAX_SKIPPED_IN_A_ROW = 20
EMPTY_SIDE = 64  # of the all-ignored patch that stands for an unreadable one in evaluation


class Sample(NamedTuple):
    """One patch, or a batch of them with a leading B.

    `failed` holds the numbers of the patches that could not be read and were passed over, [F] int64.
    """

    image: Tensor  # [3, H, W] uint8 RGB
    mask: Tensor  # [H, W] uint8, 255 = ignored
    failed: Tensor


class EvalBatch(NamedTuple):
    """Whole patches, padded at the bottom and right to the largest only to travel together: see `of_one_size`."""

    image: Tensor  # [B, 3, H, W] uint8 RGB
    mask: Tensor  # [B, H, W] uint8, 255 = ignored
    sizes: Tensor  # [B, 2] int64 height and width of each without the padding
    failed: Tensor  # [F] int64 numbers of the patches that could not be read (data.on_error=skip)


class PatchReader:
    """Reads patches of an index; `with_masks=False` gives masks of 255 without opening a file."""

    def __init__(self, index: PatchIndex, classes: ClassMap, *, with_masks: bool) -> None:
        self.index = index
        self.classes = classes
        self.with_masks = with_masks

    def read(self, patch: int) -> tuple[np.ndarray, np.ndarray]:
        """Image [H, W, 3] and mask [H, W], 255 everywhere for a patch without one. Raises `DataError`."""
        image_path = self.index.image_path(patch)
        image = read_image(image_path)
        mask_path = self.index.mask_path(patch) if self.with_masks else None
        if mask_path is None:
            return image, np.full(image.shape[:2], IGNORE_INDEX, dtype=np.uint8)
        mask = read_mask(mask_path, self.classes)
        if mask.shape != image.shape[:2]:
            raise DataError(
                f"{mask_path}: the mask has {mask.shape[1]}x{mask.shape[0]} pixels, its image {image_path} "
                f"{image.shape[1]}x{image.shape[0]}: give both the same size or remove the pair"
            )
        return image, mask


class TrainDataset(Dataset):
    """Augmented samples of a stream, by position.

    With `skip_unreadable` a position whose patch cannot be read gets the patch of the next position that can.
    """

    def __init__(
        self, reader: PatchReader, stream: Stream, augment: Augment, crop_size: int, *, skip_unreadable: bool
    ) -> None:
        self.reader = reader
        self.stream = stream
        self.augment = augment
        self.crop_size = crop_size
        self.skip_unreadable = skip_unreadable

    def __getitem__(self, position: int) -> Sample | DataError:
        try:
            patch, image, mask, failed = self._read(position)
            image, mask = self._augment(patch, image, mask, position)
        except DataError as error:
            return error
        return _to_sample(image, mask, failed)

    def _read(self, position: int) -> tuple[int, np.ndarray, np.ndarray, list[int]]:
        failed: list[int] = []
        while True:
            patch = self.stream.patch_at(position + len(failed))
            try:
                return patch, *self.reader.read(patch), failed
            except DataError as error:
                if not self.skip_unreadable:
                    raise
                failed.append(patch)
                if len(failed) == MAX_SKIPPED_IN_A_ROW:
                    raise DataError(f"{len(failed)} patches in a row cannot be read, the last: {error}") from error

    def _augment(self, patch: int, image: np.ndarray, mask: np.ndarray, position: int) -> tuple[np.ndarray, np.ndarray]:
        rng = generator_at(self.stream.seed, self.stream.stream_id, Draw.AUGMENT, position)
        try:
            return self.augment(image, mask, rng, self.crop_size)
        except DataError as error:
            raise DataError(f"{self.reader.index.image_path(patch)}: {error}") from error


class EvalDataset(Dataset):
    """Whole patches in the order given, never augmented.

    With `skip_unreadable` a patch that cannot be read becomes a small one on which every pixel is ignored.
    """

    def __init__(self, reader: PatchReader, patches: np.ndarray, *, skip_unreadable: bool) -> None:
        self.reader = reader
        self.patches = patches
        self.skip_unreadable = skip_unreadable

    def __len__(self) -> int:
        return len(self.patches)

    def __getitem__(self, entry: int) -> Sample | DataError:
        patch = int(self.patches[entry])
        try:
            return _to_sample(*self.reader.read(patch), failed=[])
        except DataError as error:
            return _empty_sample(patch) if self.skip_unreadable else error


def collate(samples: Sequence[Sample | DataError]) -> Sample | DataError:
    """Samples of one size to a batch; the first error, where there is one."""
    for sample in samples:
        if isinstance(sample, DataError):
            return sample
    images, masks, failed = zip(*samples, strict=True)
    # default_collate writes straight into the memory shared with the main process; torch.stack would copy twice.
    return Sample(default_collate(list(images)), default_collate(list(masks)), torch.cat(failed))


def collate_padded(samples: list[Sample | DataError]) -> EvalBatch | DataError:
    """Samples of any size, images padded with 0 and masks with 255; the first error, where there is one."""
    readable = [sample for sample in samples if isinstance(sample, Sample)]
    sizes = torch.tensor([tuple(sample.mask.shape) for sample in readable])
    padded = samples if len(readable) < len(samples) else [_pad_sample(s, *sizes.amax(0).tolist()) for s in readable]
    batch = collate(padded)
    return batch if isinstance(batch, DataError) else EvalBatch(batch.image, batch.mask, sizes, batch.failed)


def of_one_size(batch: EvalBatch) -> Iterator[tuple[EvalBatch, Tensor]]:
    """A batch as one batch a size, none of them padded, each with the places [n] of its patches in the batch.

    A network must not see the padding: it enters global pooling and wide convolutions and changes what is predicted.
    """
    sizes = sorted(set(map(tuple, batch.sizes.tolist())))
    if len(sizes) == 1:  # as it is: in pinned memory, perhaps
        yield batch, torch.arange(len(batch.sizes))
        return
    for height, width in sizes:
        rows = (batch.sizes == torch.tensor([height, width])).all(1).nonzero()[:, 0]
        image, mask = batch.image[rows, :, :height, :width], batch.mask[rows, :height, :width]
        yield EvalBatch(image, mask, batch.sizes[rows], batch.failed), rows


def _pad_sample(sample: Sample, height: int, width: int) -> Sample:
    border = (0, width - sample.mask.shape[1], 0, height - sample.mask.shape[0])
    return sample._replace(image=pad(sample.image, border), mask=pad(sample.mask, border, value=IGNORE_INDEX))


def _to_sample(image: np.ndarray, mask: np.ndarray, failed: list[int]) -> Sample:
    channels_first = np.ascontiguousarray(image.transpose(2, 0, 1))
    return Sample(
        torch.from_numpy(channels_first),
        torch.from_numpy(np.ascontiguousarray(mask)),
        torch.tensor(failed, dtype=torch.int64),
    )


def _empty_sample(patch: int) -> Sample:
    image = np.zeros((EMPTY_SIDE, EMPTY_SIDE, 3), dtype=np.uint8)
    return _to_sample(image, np.full(image.shape[:2], IGNORE_INDEX, dtype=np.uint8), failed=[patch])
