"""Batches on the device: their values, their sizes, and a resume that repeats and leaves out nothing."""

import logging
from dataclasses import replace
from itertools import islice

import cv2
import pytest
import torch

from semiseg.aug import MultiScaleCrop, RandomCrop
from semiseg.contracts import Batch
from semiseg.data.batches import BatchStream, normalize, shared_out, to_batch, to_device
from semiseg.data.build import build_data
from semiseg.data.config import DataConfig
from semiseg.data.dataset import Sample
from semiseg.data.layouts.salak import SalakLayout

CPU = torch.device("cpu")


def stream_of(bundle, aug=None, **settings) -> BatchStream:
    defaults = {
        "crop_size": 16,
        "batch_size": 3,
        "unlabeled_batch_size": 4,
        "seed": 0,
        "device": CPU,
        "needs_unlabeled": True,
        "needs_real": True,
    }
    return BatchStream(bundle, aug or MultiScaleCrop(size_max=32, color=0.2), **(defaults | settings))


def take(stream: BatchStream, count: int) -> list[Batch]:
    return list(islice(stream, count))


def assert_same(got: list[Batch], expected: list[Batch]) -> None:
    assert len(got) == len(expected)
    for one, other in zip(got, expected, strict=True):
        for name, tensor in vars(one).items():
            torch.testing.assert_close(tensor, getattr(other, name), rtol=0, atol=0)


def sample_of(count: int, side: int) -> Sample:
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(256, (count, 3, side, side), generator=generator, dtype=torch.uint8)
    mask = torch.randint(7, (count, side, side), generator=generator, dtype=torch.uint8)
    mask[:, 0] = 255
    return Sample(image, mask, torch.empty(0, dtype=torch.int64))


def denormalize(image: torch.Tensor) -> torch.Tensor:
    """Normalised float [B, 3, H, W] back to RGB in [0, 1]."""
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return image * std[:, None, None] + mean[:, None, None]


def test_normalisation_is_imagenets():
    image = sample_of(2, 8).image
    torch.testing.assert_close(denormalize(normalize(image)), image.float() / 255)


def test_masks_become_int64_and_keep_255():
    sample = sample_of(2, 8)
    image, mask = to_device(sample, CPU)
    assert (image.dtype, mask.dtype) == (torch.float32, torch.int64)
    torch.testing.assert_close(mask, sample.mask.long())


def test_channels_last_changes_the_layout_only():
    sample = sample_of(2, 8)
    plain, last = to_device(sample, CPU)[0], to_device(sample, CPU, channels_last=True)[0]
    assert last.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(last, plain)


def test_resizing_keeps_mask_and_image_aligned():
    edge = torch.zeros(1, 8, 8, dtype=torch.uint8)
    edge[..., 4:] = 200
    sample = Sample(edge[:, None].repeat(1, 3, 1, 1), edge, torch.empty(0, dtype=torch.int64))
    image, mask = to_device(sample, CPU, side=12)
    assert mask.shape == (1, 12, 12)
    torch.testing.assert_close(denormalize(image)[:, 0] > 100 / 255, mask == 200)


def test_only_labelled_images_are_resized_and_hidden_masks_can_stay_behind():
    batch = to_batch(sample_of(2, 8), sample_of(3, 8), sample_of(2, 8), CPU, side=16, audit=False)
    assert batch.image.shape == (2, 3, 16, 16)
    assert batch.mask.shape == (2, 16, 16)
    assert batch.unlabeled is not None and batch.unlabeled.shape == (3, 3, 8, 8)
    assert batch.real_mask is not None and batch.real_mask.shape == (2, 8, 8)
    assert batch.hidden_mask is None


def test_a_resumed_stream_goes_on_with_the_same_batches(bundle):
    undisturbed = take(stream_of(bundle), 8)
    interrupted = stream_of(bundle)
    take(interrupted, 3)
    assert interrupted.position == {"labeled": 9, "unlabeled": 12, "real": 9}
    assert_same(take(stream_of(bundle, start=interrupted.position), 5), undisturbed[3:])


def test_coming_files_are_those_of_the_next_batch(bundle):
    stream = stream_of(bundle, RandomCrop(), crop_size=24)  # whole patches
    take(stream, 3)
    files = stream.coming_files()
    batch = next(stream)
    for pool, images in (("labeled", batch.image), ("unlabeled", batch.unlabeled), ("real", batch.real_image)):
        read = [torch.from_numpy(cv2.imread(path)[..., ::-1].copy()).permute(2, 0, 1) for path in files[pool]]
        torch.testing.assert_close(normalize(torch.stack(read)), images)


def test_workers_change_nothing(bundle):
    stream = stream_of(bundle, num_workers=2)
    assert_same(take(stream, 4), take(stream_of(bundle), 4))
    stream.close()


def test_samples_go_on_at_another_batch_size(bundle):
    crop = RandomCrop(flip=True)
    undisturbed = torch.cat([batch.image for batch in take(stream_of(bundle, crop), 6)])
    first = stream_of(bundle, crop)
    head = [batch.image for batch in take(first, 2)]
    tail = [batch.image for batch in take(stream_of(bundle, crop, batch_size=4, start=first.position), 3)]
    torch.testing.assert_close(torch.cat(head + tail), undisturbed)


def test_labelled_batches_have_one_random_size_each_and_the_others_the_crop(bundle):
    batches = take(stream_of(bundle), 20)
    assert {batch.image.shape[-1] for batch in batches} == {16, 32}
    for batch in batches:
        assert batch.image.shape[-2:] == batch.mask.shape[-2:]
        assert batch.unlabeled.shape == (4, 3, 16, 16)
        assert batch.real_image.shape == (3, 3, 16, 16)


def test_only_the_pools_asked_for_are_read_and_counted(bundle):
    stream = stream_of(bundle, needs_unlabeled=False, needs_real=False)
    (batch,) = take(stream, 1)
    assert batch.unlabeled is batch.hidden_mask is batch.real_image is batch.real_mask is None
    assert stream.position == {"labeled": 3, "unlabeled": 0, "real": 0}


@pytest.mark.parametrize(
    ("workers", "pools", "expected"),
    [
        (0, 3, [0, 0, 0]),
        (1, 1, [1]),
        (1, 3, [1, 1, 1]),
        (4, 1, [4]),
        (4, 2, [2, 2]),
        (4, 3, [2, 1, 1]),
        (8, 3, [3, 3, 2]),
    ],
)
def test_the_workers_are_shared_out_among_the_pools(workers: int, pools: int, expected: list[int]) -> None:
    assert shared_out(workers, pools) == expected


def test_hidden_masks_follow_the_audit(bundle):
    assert any(bool((batch.hidden_mask != 255).any()) for batch in take(stream_of(bundle), 2))
    free = bundle.pools.unlabeled[~bundle.index.has_mask[bundle.pools.unlabeled]]
    without = replace(bundle, pools=replace(bundle.pools, unlabeled=free))
    assert len(free) and all(batch.hidden_mask is None for batch in take(stream_of(without), 2))


def test_skipped_patches_are_counted_and_named(make_bundle, caplog):
    bundle = make_bundle(on_error="skip")
    path = bundle.index.image_path(int(bundle.pools.train[0]))
    path.write_bytes(b"")
    stream = stream_of(bundle, needs_unlabeled=False, needs_real=False)
    with caplog.at_level(logging.WARNING):
        batches = take(stream, 8)
    assert all(len(batch.image) == 3 for batch in batches)
    assert stream.skipped >= 2
    assert str(path) in caplog.text


@pytest.mark.parametrize("num_workers", [0, 2])
def test_real_patches_come_out_as_pictures_again(dubai, tmp_path, num_workers):
    config = DataConfig(
        root=str(dubai),
        layout=SalakLayout(),
        labeled_list=str(dubai / "labeled_few.txt"),
        val_list=str(dubai / "val.txt"),
        cache_dir=str(tmp_path),
    )
    bundle = build_data(config)
    stream = stream_of(bundle, MultiScaleCrop(), crop_size=256, batch_size=4, num_workers=num_workers)
    for batch in take(stream, 2):
        assert batch.image.shape[-1] == batch.mask.shape[-1] in range(256, 385, 8)
        assert batch.unlabeled.shape == (4, 3, 256, 256)
        for mask in (batch.mask, batch.hidden_mask, batch.real_mask):
            assert set(mask.unique().tolist()) <= {0, 1, 2, 3, 4, 255}
        spread = denormalize(batch.image).std(dim=(2, 3))
        assert bool((spread > 0.01).all()), "pictures, not flat fills"
    stream.close()
