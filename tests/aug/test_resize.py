"""The whole patch at one size."""

import numpy as np

from semiseg.aug import ResizeFlip


def test_the_whole_patch_is_shown_and_flipped_half_of_the_time():
    mask = np.zeros((20, 40), dtype=np.uint8)
    mask[:, :10] = 3
    image = np.repeat(mask[..., None] * 50, 3, axis=2)
    left = 0
    for seed in range(100):
        out_image, out_mask = ResizeFlip()(image, mask, np.random.default_rng(seed), 16)
        assert out_image.shape == (16, 16, 3)
        assert (out_mask == 3).sum() == 4 * 16, "a quarter of the width stays a quarter"
        np.testing.assert_array_equal(out_image[..., 0] > 75, out_mask == 3)
        left += int(out_mask[0, 0] == 3)
    assert 30 < left < 70


def test_flip_can_be_switched_off():
    mask = np.arange(64, dtype=np.uint8).reshape(8, 8)
    image = np.repeat(mask[..., None], 3, axis=2)
    for seed in range(10):
        np.testing.assert_array_equal(ResizeFlip(flip=False)(image, mask, np.random.default_rng(seed), 8)[1], mask)
