"""Boundary IoU against the authors' definition, spelt out with OpenCV class by class, and on shapes drawn by hand."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from semiseg.contracts import IGNORE_INDEX
from semiseg.evaluation.boundary import band_width, boundary_counts, near_contour


def band_of(mask: np.ndarray, distance: int) -> np.ndarray:
    """The authors' mask_to_boundary: a mask without its erosion, the image's edge being a contour."""
    framed = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    eroded = cv2.erode(framed, np.ones((3, 3), np.uint8), iterations=distance)
    return mask & ~eroded[1:-1, 1:-1].astype(bool)


@pytest.mark.parametrize("distance", [1, 2, 5])
@pytest.mark.parametrize("ignored", [False, True])
def test_equals_the_authors_definition(distance: int, ignored: bool) -> None:
    rng = np.random.default_rng(0)
    truth, prediction = (rng.integers(0, 4, (2, 6, 8)).repeat(5, 1).repeat(5, 2) for _ in range(2))
    if ignored:
        truth[:, 8:14, 20:33] = IGNORE_INDEX
    found = boundary_counts(torch.from_numpy(prediction), torch.from_numpy(truth), distance, 4).numpy()
    for number in range(4):
        both = union = 0
        for true, predicted in zip(truth, prediction, strict=True):
            known = true != IGNORE_INDEX
            first, second = band_of(true == number, distance), band_of((predicted == number) & known, distance)
            both += (first & second).sum()
            union += (first | second).sum()
        assert found[number].tolist() == [both, union]


def test_a_square_one_pixel_off() -> None:
    truth = torch.zeros(1, 12, 12, dtype=torch.int64)
    truth[0, 3:9, 3:9] = 1
    prediction = torch.roll(truth, 1, dims=2)
    # Rings of 20 pixels. Shifted by one they share the two long sides but for a corner each: 2 x 5.
    assert boundary_counts(prediction, truth, 1, 2)[1].tolist() == [10, 30]
    assert boundary_counts(truth, truth, 1, 2)[1].tolist() == [20, 20]


def test_the_edge_of_the_image_is_a_contour() -> None:
    whole = near_contour(torch.zeros(1, 5, 7, dtype=torch.int64), 1)[0]
    assert not whole[1:-1, 1:-1].any() and whole.sum() == 5 * 7 - 3 * 5


def test_padding_is_as_the_edge() -> None:
    rng = np.random.default_rng(1)
    truth, prediction = (torch.from_numpy(rng.integers(0, 3, (1, 9, 11))) for _ in range(2))
    padded = torch.nn.functional.pad(truth, (0, 6, 0, 4), value=IGNORE_INDEX)
    guessed = torch.nn.functional.pad(prediction, (0, 6, 0, 4), value=2)
    assert torch.equal(boundary_counts(guessed, padded, 2, 3), boundary_counts(prediction, truth, 2, 3))


def test_the_band_is_a_share_of_the_diagonal() -> None:
    assert [band_width(*size) for size in ((256, 256), (512, 512), (300, 400), (8, 8))] == [7, 14, 10, 1]
