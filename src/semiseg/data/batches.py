"""From uint8 samples to the float batches a training step sees, prepared on the device one batch ahead."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from semiseg.aug import Augment
from semiseg.contracts import Batch
from semiseg.data.build import DataBundle
from semiseg.data.dataset import PatchReader, Sample
from semiseg.data.loader import SampleLoader, train_loader
from semiseg.data.stream import STREAM_IDS, Draw, Pool, Stream, generator_at
from semiseg.errors import DataError
from semiseg.printable import printable

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
MAX_NAMED_FILES = 10

log = logging.getLogger(__name__)


@cache
def _mean_and_std(device: torch.device) -> tuple[Tensor, Tensor]:
    """[3, 1, 1] each, in units of uint8. Kept, because sending them to the device anew would wait for it."""
    mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
    return (mean * 255).view(3, 1, 1).to(device), (std * 255).view(3, 1, 1).to(device)


def normalize(image: Tensor) -> Tensor:
    """uint8 [..., 3, H, W] to float32 with ImageNet's mean and standard deviation, on the image's device."""
    mean, std = _mean_and_std(image.device)
    return (image.float() - mean) / std


def to_device(
    sample: Sample, device: torch.device, channels_last: bool = False, side: int | None = None
) -> tuple[Tensor, Tensor]:
    """Normalised images [B, 3, H, W] and int64 masks [B, H, W] on the device, resized to side x side if given.

    Pinned samples are copied without waiting; as uint8 they are a quarter of the floats.
    """
    layout = torch.channels_last if channels_last else torch.contiguous_format
    image = normalize(sample.image.to(device, non_blocking=True).contiguous(memory_format=layout))
    mask = sample.mask.to(device, non_blocking=True)
    if side is not None and mask.shape[-2:] != (side, side):
        image = interpolate(image, size=(side, side), mode="bilinear", align_corners=False)
        # "nearest-exact" shares the pixel centres of the bilinear images, "nearest" is half a pixel off.
        mask = interpolate(mask[:, None].float(), size=(side, side), mode="nearest-exact")[:, 0]
    return image, mask.long()


def to_batch(
    labeled: Sample,
    unlabeled: Sample | None,
    real: Sample | None,
    device: torch.device,
    *,
    channels_last: bool = False,
    side: int | None = None,
    audit: bool = True,
) -> Batch:
    """A `Batch` on the device. `side` resizes the labelled images only; hidden masks go along with `audit`."""
    batch = Batch(*to_device(labeled, device, channels_last, side))
    if unlabeled is not None:
        batch.unlabeled, hidden_mask = to_device(unlabeled, device, channels_last)
        batch.hidden_mask = hidden_mask if audit else None
    if real is not None:
        batch.real_image, batch.real_mask = to_device(real, device, channels_last)
    return batch


def shared_out(workers: int, pools: int) -> list[int]:
    """Loader processes of each pool: all together as many as wanted, but one each where there are any."""
    each, more = divmod(workers, pools)
    return [max(each + (number < more), min(workers, 1)) for number in range(pools)]


class BatchStream:
    """The batches of a run, one prepared ahead of the loop.

    `position` counts the samples of each pool that the loop has taken, not those prepared; a stream started there goes
    on with the same batches. `skipped` counts how often unreadable patches were passed over (data.on_error=skip) in the
    batches taken; each is named once.
    """

    def __init__(
        self,
        bundle: DataBundle,
        aug: Augment,
        *,
        crop_size: int,
        batch_size: int,
        unlabeled_batch_size: int,
        seed: int,
        device: torch.device,
        num_workers: int = 0,
        channels_last: bool = False,
        needs_unlabeled: bool = False,
        needs_real: bool = False,
        start: Mapping[Pool, int] | None = None,
    ) -> None:
        self.bundle, self.aug = bundle, aug
        self.crop_size, self.seed, self.device, self.channels_last = crop_size, seed, device, channels_last
        self.audit = needs_unlabeled and bundle.has_hidden_masks
        self.skipped = 0
        self._named: set[int] = set()  # unreadable patches
        self.batch_sizes: dict[Pool, int] = {"labeled": batch_size}
        if needs_unlabeled:
            self.batch_sizes["unlabeled"] = unlabeled_batch_size
        if needs_real:
            self.batch_sizes["real"] = batch_size
        self._taken: dict[Pool, int] = {pool: (start or {}).get(pool, 0) for pool in STREAM_IDS}
        self._next_labeled = self._taken["labeled"]
        workers = shared_out(num_workers, len(self.batch_sizes))
        self._samples = {
            pool: iter(self._loader(pool, own)) for pool, own in zip(self.batch_sizes, workers, strict=True)
        }
        # Copies and normalisation of the batch ahead run beside the step instead of queueing behind it.
        self._copy_stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._ahead: tuple[Batch, list[int]] | None = None

    def _loader(self, pool: Pool, num_workers: int) -> SampleLoader:
        return train_loader(
            self.bundle,
            pool=pool,
            aug=self.aug,
            crop_size=self.crop_size,
            batch_size=self.batch_sizes[pool],
            seed=self.seed,
            start=self._taken[pool],
            num_workers=num_workers,
            pin_memory=self.device.type == "cuda",
            audit=self.audit,
        )

    @property
    def position(self) -> dict[Pool, int]:
        """Samples taken of each pool since the run began; `start` of the stream that resumes it."""
        return dict(self._taken)

    def coming_files(self) -> dict[Pool, list[str]]:
        """Images of the patches of the next batch, by pool, before unreadable ones give way to others."""
        files = {}
        for pool, size in self.batch_sizes.items():
            patches = self.bundle.pools.unlabeled if pool == "unlabeled" else self.bundle.pools.train
            stream = Stream(patches, self.seed, STREAM_IDS[pool])
            numbers = [stream.patch_at(self._taken[pool] + entry) for entry in range(size)]
            files[pool] = [str(self.bundle.index.image_path(number)) for number in numbers]
        return files

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        batch, failed = self._prepare() if self._ahead is None else self._ahead
        self._hand_over(batch)
        # Not when they are prepared: a resumed stream prepares the batch ahead again, and would count it twice.
        self._count_failed(failed)
        self._ahead = self._prepare()
        for pool, size in self.batch_sizes.items():
            self._taken[pool] += size
        return batch

    def close(self) -> None:
        """Stop the workers and free the batch ahead."""
        self._samples.clear()
        self._ahead = None

    def _prepare(self) -> tuple[Batch, list[int]]:
        """The next batch, and the patches that were passed over for it."""
        samples = {pool: next(loader) for pool, loader in self._samples.items()}
        failed = [patch for sample in samples.values() for patch in sample.failed.tolist()]
        rng = generator_at(self.seed, STREAM_IDS["labeled"], Draw.BATCH_SIDE, self._next_labeled)
        side = self.aug.batch_side(rng, self.crop_size)
        self._next_labeled += self.batch_sizes["labeled"]
        with torch.cuda.stream(self._copy_stream):  # None: no stream is switched
            batch = to_batch(
                samples["labeled"],
                samples.get("unlabeled"),
                samples.get("real"),
                self.device,
                channels_last=self.channels_last,
                side=side,
                audit=self.audit,
            )
        return batch, failed

    def _hand_over(self, batch: Batch) -> None:
        """Make the step's stream wait for the copies, and the allocator keep their memory until the step is done."""
        if self._copy_stream is None:
            return
        current = torch.cuda.current_stream(self.device)
        current.wait_stream(self._copy_stream)
        for tensor in vars(batch).values():
            if tensor is not None:
                tensor.record_stream(current)

    def _count_failed(self, patches: list[int]) -> None:
        self.skipped += len(patches)
        for patch in patches:
            if patch not in self._named and len(self._named) < MAX_NAMED_FILES:
                self._named.add(patch)
                log.warning("passed over an unreadable patch: %s", self._cause(patch))

    def _cause(self, patch: int) -> str:
        """Which file of a patch is unreadable and why; read again, because workers hand over no texts."""
        try:
            PatchReader(self.bundle.index, self.bundle.classes, with_masks=True).read(patch)
        except DataError as error:
            return str(error)
        return f"{printable(str(self.bundle.index.image_path(patch)))}, which can be read by now"
