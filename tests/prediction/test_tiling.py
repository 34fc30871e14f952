from __future__ import annotations

import numpy as np
import pytest

from semiseg.prediction.tiling import lay_out


@pytest.mark.parametrize("overlap", [0, 1, 8, 15, 32])
@pytest.mark.parametrize("length", [1, 5, 63, 64, 65, 100, 127, 129, 500])
def test_tiles_cover_every_pixel_and_their_weights_add_up_to_one(length: int, overlap: int) -> None:
    axis = lay_out(length, 64, overlap)
    total = np.zeros(length)
    for start, weight in zip(axis.starts, axis.weights, strict=True):
        assert 0 <= start <= length - axis.size
        total[start : start + axis.size] += weight
    np.testing.assert_allclose(total, 1, atol=1e-6)
    assert (axis.weights >= 0).all()
    assert sum(axis.step(number) for number in range(len(axis))) == length


def test_neighbours_share_at_least_the_overlap_and_no_tile_is_in_vain() -> None:
    for length in range(65, 600, 7):
        axis = lay_out(length, 64, 16)
        steps = np.diff(axis.starts)
        assert (steps <= 64 - 16).all() and steps.max() - steps.min() <= 1
        assert (len(axis) - 1) * (64 - 16) + 16 < length  # one tile fewer would not reach the end


def test_a_tile_counts_nothing_near_its_inner_edges_and_fully_at_the_borders_of_the_image() -> None:
    axis = lay_out(200, 64, 16)
    middle = axis.weights[1]
    assert (middle[:4] == 0).all() and (middle[-4:] == 0).all() and (middle[4:-4] > 0).all()
    assert axis.weights[0][0] == 1 and axis.weights[-1][-1] == 1
    assert np.abs(np.diff(middle)).max() < 0.25  # it rises smoothly


def test_an_image_no_larger_than_a_tile_is_one_tile() -> None:
    axis = lay_out(40, 64, 16)
    assert axis.starts == (0,) and axis.size == 40 and (axis.weights == 1).all()
