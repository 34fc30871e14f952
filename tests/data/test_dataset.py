"""Samples of a position, whole patches for evaluation, and what happens to files that cannot be read."""

import cv2
import numpy as np
import pytest
import torch

from semiseg.aug import RandomCrop
from semiseg.data.dataset import EvalDataset, PatchReader, Sample, TrainDataset, collate, collate_padded
from semiseg.data.stream import Stream
from semiseg.errors import DataError

CROP = 16


def reader_of(bundle, with_masks=True) -> PatchReader:
    return PatchReader(bundle.index, bundle.classes, with_masks=with_masks)


def dataset_of(bundle, patches, *, skip=False, with_masks=True, crop_size=CROP) -> TrainDataset:
    stream = Stream(patches, seed=3, stream_id=1)
    return TrainDataset(reader_of(bundle, with_masks), stream, RandomCrop(flip=True), crop_size, skip_unreadable=skip)


def read_rgb(path) -> np.ndarray:
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


def test_a_sample_is_the_augmented_patch_of_its_position(bundle):
    dataset = dataset_of(bundle, bundle.pools.train)
    for position in (0, 5, 31):
        sample = dataset[position]
        patch = dataset.stream.patch_at(position)
        image = read_rgb(bundle.index.image_path(patch))
        mask = cv2.imread(str(bundle.index.mask_path(patch)), cv2.IMREAD_UNCHANGED)
        rng = np.random.default_rng([3, 1, 1, position])
        expected_image, expected_mask = RandomCrop(flip=True)(image, mask, rng, CROP)
        np.testing.assert_array_equal(sample.image.numpy(), expected_image.transpose(2, 0, 1))
        np.testing.assert_array_equal(sample.mask.numpy(), expected_mask)
        assert sample.image.dtype == sample.mask.dtype == torch.uint8
        assert sample.failed.tolist() == []


def test_unlabelled_masks_are_read_only_where_asked_for_and_present(bundle):
    masks = np.array([bundle.index.mask_path(patch) is not None for patch in bundle.pools.unlabeled])
    audited = EvalDataset(reader_of(bundle), bundle.pools.unlabeled, skip_unreadable=False)
    blind = EvalDataset(reader_of(bundle, with_masks=False), bundle.pools.unlabeled, skip_unreadable=False)
    assert masks.sum() == 4
    assert len(masks) == 8
    for entry, has_mask in enumerate(masks):
        assert bool((audited[entry].mask == 255).all()) == (not has_mask)
        assert bool((blind[entry].mask == 255).all())


def test_an_unreadable_file_is_an_error_that_names_it(bundle):
    path = bundle.index.image_path(int(bundle.pools.train[4]))
    path.write_bytes(b"not an image")
    dataset = dataset_of(bundle, bundle.pools.train)
    errors = [s for s in (dataset[p] for p in range(len(bundle.pools.train))) if isinstance(s, DataError)]
    assert len(errors) == 1
    assert path.name in str(errors[0])


def test_skipping_takes_the_patch_of_the_next_position_and_says_which_failed(bundle):
    dataset = dataset_of(bundle, bundle.pools.train, skip=True)
    broken, following = dataset.stream.patch_at(6), dataset.stream.patch_at(7)
    bundle.index.image_path(broken).write_bytes(b"")
    sample = dataset[6]
    assert sample.failed.tolist() == [broken]
    blue = read_rgb(bundle.index.image_path(following))[0, 0, 2]
    assert bool((sample.image[2] == int(blue)).all()), "the blue channel is the patch's number"
    torch.testing.assert_close(dataset[6].image, sample.image)


def test_skipping_gives_up_on_a_pool_that_cannot_be_read(bundle):
    for patch in bundle.pools.train:
        bundle.index.image_path(int(patch)).write_bytes(b"")
    error = dataset_of(bundle, bundle.pools.train, skip=True)[0]
    assert isinstance(error, DataError)
    assert "20 patches in a row" in str(error)


def test_a_mask_of_another_size_names_both_files(bundle):
    patch = int(bundle.pools.train[0])
    mask_path = bundle.index.mask_path(patch)
    cv2.imwrite(str(mask_path), np.zeros((10, 12), dtype=np.uint8))
    with pytest.raises(DataError, match=r"12x10.*24x24") as caught:
        reader_of(bundle).read(patch)
    assert str(mask_path) in str(caught.value)
    assert str(bundle.index.image_path(patch)) in str(caught.value)


@pytest.mark.parametrize("skip", [False, True])
def test_too_large_a_crop_is_never_skipped_and_names_the_patch(bundle, skip):
    error = dataset_of(bundle, bundle.pools.train, skip=skip, crop_size=99)[0]
    assert isinstance(error, DataError)
    assert "trainer.crop_size=24" in str(error)
    assert "_patch_" in str(error)


def test_evaluation_shows_whole_patches_in_order(bundle):
    patches = bundle.pools.val[::-1]
    dataset = EvalDataset(reader_of(bundle), patches, skip_unreadable=False)
    assert len(dataset) == 4
    for entry, patch in enumerate(patches):
        expected = read_rgb(bundle.index.image_path(int(patch))).transpose(2, 0, 1)
        np.testing.assert_array_equal(dataset[entry].image.numpy(), expected)


def test_evaluation_ignores_an_unreadable_patch_when_skipping(bundle):
    patch = int(bundle.pools.val[1])
    bundle.index.image_path(patch).write_bytes(b"")
    assert isinstance(EvalDataset(reader_of(bundle), bundle.pools.val, skip_unreadable=False)[1], DataError)
    sample = EvalDataset(reader_of(bundle), bundle.pools.val, skip_unreadable=True)[1]
    assert sample.failed.tolist() == [patch]
    assert bool((sample.mask == 255).all())


def sample_of(height: int, width: int, failed=()) -> Sample:
    image = torch.full((3, height, width), 7, dtype=torch.uint8)
    return Sample(image, torch.ones(height, width, dtype=torch.uint8), torch.tensor(failed, dtype=torch.int64))


def test_collating_stacks_and_keeps_every_failure():
    batch = collate([sample_of(4, 4, [1, 2]), sample_of(4, 4), sample_of(4, 4, [9])])
    assert batch.image.shape == (3, 3, 4, 4)
    assert batch.mask.shape == (3, 4, 4)
    assert batch.failed.tolist() == [1, 2, 9]


@pytest.mark.parametrize("function", [collate, collate_padded])
def test_collating_hands_on_the_first_error(function):
    first, second = DataError("first"), DataError("second")
    assert function([sample_of(4, 4), first, second]) is first


def test_padding_fills_images_with_zero_and_masks_with_255():
    batch = collate_padded([sample_of(4, 6), sample_of(5, 3)])
    assert batch.image.shape == (2, 3, 5, 6)
    assert bool((batch.image[0, :, :4] == 7).all() & (batch.image[0, :, 4:] == 0).all())
    assert bool((batch.mask[1, :, :3] == 1).all() & (batch.mask[1, :, 3:] == 255).all())
