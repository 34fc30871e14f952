"""Image and mask must stay aligned, padding must be ignored, and colours must follow the textbook formula."""

import numpy as np
import pytest

from semiseg.aug import functional as F


def aligned_pair(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """An image whose every channel is its mask: what moves one must move the other."""
    mask = np.random.default_rng(0).integers(0, 200, size=(height, width), dtype=np.uint8)
    return np.repeat(mask[..., None], 3, axis=2), mask


def blocks(height: int, width: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """As `aligned_pair`, in squares large enough to survive interpolation away from their edges."""
    _, small = aligned_pair(height // side, width // side)
    mask = np.kron(small, np.ones((side, side), dtype=np.uint8))
    return np.repeat(mask[..., None], 3, axis=2), mask


@pytest.mark.parametrize("seed", range(8))
def test_orientation_moves_image_and_mask_together(seed):
    image, mask = aligned_pair(9, 9)
    out_image, out_mask = F.random_orientation(
        image, mask, np.random.default_rng(seed), flip=True, vertical_flip=True, rotate=True
    )
    np.testing.assert_array_equal(out_image[..., 0], out_mask)
    assert sorted(out_mask.ravel()) == sorted(mask.ravel())


def test_horizontal_flip_happens_half_of_the_time_and_mirrors_columns():
    image, mask = aligned_pair(4, 6)
    rng = np.random.default_rng(0)
    flipped = 0
    for _ in range(200):
        _, out = F.random_orientation(image, mask, rng, flip=True, vertical_flip=False, rotate=False)
        flipped += int(np.array_equal(out, mask[:, ::-1]))
        assert np.array_equal(out, mask) or np.array_equal(out, mask[:, ::-1])
    assert 70 < flipped < 130


def test_windows_reach_every_corner_and_stay_aligned():
    image, mask = aligned_pair(10, 12)
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(200):
        out_image, out_mask = F.random_window(image, mask, 8, rng)
        assert out_mask.shape == (8, 8)
        np.testing.assert_array_equal(out_image[..., 0], out_mask)
        rows, columns = np.where(mask == out_mask[0, 0])
        seen.update(
            (r, c) for r, c in zip(rows, columns, strict=True) if np.array_equal(mask[r : r + 8, c : c + 8], out_mask)
        )
    assert seen == {(row, column) for row in range(3) for column in range(5)}


@pytest.mark.parametrize("scale", [0.5, 0.73, 1.0, 1.4, 2.0])
def test_scaled_crops_have_the_size_asked_for(scale):
    image, mask = aligned_pair(40, 56)
    out_image, out_mask = F.scaled_crop(image, mask, 32, scale, np.random.default_rng(0))
    assert out_image.shape == (32, 32, 3)
    assert out_mask.shape == (32, 32)
    assert out_image.dtype == out_mask.dtype == np.uint8


@pytest.mark.parametrize("scale", [1.5, 2.0, 3.0])
def test_an_enlarged_mask_follows_its_image(scale):
    image, mask = blocks(64, 64, side=16)
    out_image, out_mask = F.scaled_crop(image, mask, 48, scale, np.random.default_rng(1))
    agree = out_image[..., 0] == out_mask
    assert agree.mean() > 0.8  # all but the interpolated edges of the squares
    assert set(np.unique(out_mask)) <= set(np.unique(mask))


def test_a_resized_mask_is_not_shifted_against_its_image():
    edge = np.zeros((8, 8), dtype=np.uint8)
    edge[:, 4:] = 200
    image, mask = F.resize(np.repeat(edge[..., None], 3, axis=2), edge, 12, 12)
    np.testing.assert_array_equal(mask[0] > 0, image[0, :, 0] > 100)


def test_a_shrunk_image_is_mirrored_and_its_mask_ignored_around_it():
    image, mask = blocks(64, 64, side=16)
    out_image, out_mask = F.scaled_crop(image, mask, 64, 0.5, np.random.default_rng(3))
    inside = out_mask != 255
    assert inside.sum() == 32 * 32
    rows, columns = np.where(inside)
    assert (np.ptp(rows), np.ptp(columns)) == (31, 31)
    assert set(np.unique(out_image)) <= set(np.unique(out_image[inside])), "padding shows content of the image only"


def test_padding_is_placed_at_random():
    image, mask = aligned_pair(4, 4)
    rng = np.random.default_rng(0)
    corners = {tuple(np.argwhere(F.pad_to(image, mask, 6, rng)[1] != 255)[0]) for _ in range(100)}
    assert corners == {(row, column) for row in range(3) for column in range(3)}


def test_color_jitter_is_brightness_then_contrast_then_saturation():
    image = np.random.default_rng(0).integers(60, 160, size=(16, 16, 3), dtype=np.uint8)
    out = F.jitter_color(image, 0.3, np.random.default_rng(5))

    brightness, contrast, saturation = np.random.default_rng(5).uniform(0.7, 1.3, size=3)
    luma = np.array([0.299, 0.587, 0.114])
    bright = image * brightness
    mean = (bright @ luma).mean()
    contrasted = np.clip((bright - mean) * contrast + mean, 0, 255)
    grey = (contrasted @ luma)[..., None]
    expected = np.clip(contrasted * saturation + grey * (1 - saturation), 0, 255)
    np.testing.assert_allclose(out.astype(float), expected, atol=2.0)
    assert not np.array_equal(out, image)


def test_color_jitter_of_strength_zero_changes_nothing():
    image, _ = aligned_pair(16, 16)
    np.testing.assert_array_equal(F.jitter_color(image, 0.0, np.random.default_rng(0)), image)
