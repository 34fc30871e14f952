"""The two crops: what each setting does, and what they refuse."""

import pickle

import numpy as np
import pytest

from semiseg.aug import MultiScaleCrop, RandomCrop
from semiseg.errors import ConfigError, DataError


@pytest.fixture
def patch() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.integers(256, size=(40, 48, 3), dtype=np.uint8), rng.integers(7, size=(40, 48), dtype=np.uint8)


def test_a_plain_crop_is_a_window_of_the_patch(patch):
    image, mask = patch
    out_image, out_mask = RandomCrop()(image, mask, np.random.default_rng(0), 32)
    windows = np.lib.stride_tricks.sliding_window_view(mask, (32, 32))
    ((top, left),) = np.argwhere((windows == out_mask).all(axis=(2, 3)))
    np.testing.assert_array_equal(out_image, image[top : top + 32, left : left + 32])


def test_the_same_generator_gives_the_same_sample(patch):
    augment = RandomCrop(flip=True, vertical_flip=True, rotate=True, scale_range=[0.5, 2.0], color=0.3)
    first, again, other = (augment(*patch, np.random.default_rng(seed), 32) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])


def test_inputs_are_left_alone_and_global_randomness_unused(patch):
    image, mask = patch
    before = image.copy(), mask.copy(), np.random.get_state()[1].copy()
    RandomCrop(flip=True, rotate=True, scale_range=(0.5, 2.0), color=0.5)(image, mask, np.random.default_rng(0), 32)
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(mask, before[1])
    np.testing.assert_array_equal(np.random.get_state()[1], before[2])


@pytest.mark.parametrize("augment", [RandomCrop(), RandomCrop(scale_range=(0.5, 2.0)), MultiScaleCrop()])
def test_a_crop_larger_than_the_patch_names_the_remedy(patch, augment):
    with pytest.raises(DataError, match=r"48x40 pixels .* crop of 64.*trainer\.crop_size=40.*aug\.pad=true"):
        augment(*patch, np.random.default_rng(0), 64)


def test_padding_fills_a_larger_crop_with_ignored_pixels(patch):
    image, mask = RandomCrop(pad=True)(*patch, np.random.default_rng(0), 64)
    assert image.shape == (64, 64, 3)
    assert (mask != 255).sum() == 40 * 48


@pytest.mark.parametrize("scale_range", [[0.0, 1.0], [1.5, 0.5], [1.0]])
def test_scale_ranges_are_checked(scale_range):
    with pytest.raises(ConfigError, match=r"aug\.scale_range"):
        RandomCrop(scale_range=scale_range)


def test_color_strength_is_checked():
    with pytest.raises(ConfigError, match=r"aug\.color"):
        RandomCrop(color=1.5)


def sides(augment: RandomCrop, crop_size: int) -> set[int]:
    rng = np.random.default_rng(0)
    return {augment.batch_side(rng, crop_size) for _ in range(500)}


def test_one_size_a_batch_defaults_to_the_crop():
    assert sides(RandomCrop(), 256) == {256}


def test_multi_scale_sides_are_256_to_384_at_a_crop_of_256():
    assert sides(MultiScaleCrop(), 256) == set(range(256, 385, 16))


def test_multi_scale_sides_follow_the_settings():
    assert sides(MultiScaleCrop(size_min=225, size_max=275), 256) == {240, 256, 272}


@pytest.mark.parametrize(("size_min", "size_max"), [(448, None), (320, 256), (-8, 16)])
def test_impossible_sizes_name_the_settings(size_min, size_max):
    with pytest.raises(ConfigError, match=r"aug\.size_min=.*aug\.size_max="):
        MultiScaleCrop(size_min, size_max).batch_side(np.random.default_rng(0), 256)


def test_augmentations_survive_pickling(patch):
    augment = MultiScaleCrop(color=0.2)
    copy = pickle.loads(pickle.dumps(augment))
    expected, got = (a(*patch, np.random.default_rng(4), 32) for a in (augment, copy))
    np.testing.assert_array_equal(got[0], expected[0])
