from __future__ import annotations

import numpy as np
import pytest

from semiseg.patchify.grid import Spot, shares, spots, starts


@pytest.mark.parametrize(("size", "stride"), [(32, 32), (32, 16), (32, 20), (32, 1)])
@pytest.mark.parametrize("length", [1, 31, 32, 33, 64, 100])
def test_patches_reach_every_pixel_and_share_them_out(length: int, size: int, stride: int):
    firsts, parts = starts(length, size, stride), shares(length, size, stride)
    assert firsts[0] == 0 and firsts[-1] == max(0, length - size)
    assert (np.diff(firsts) > 0).all() and (np.diff(firsts) <= stride).all()
    assert np.concatenate([np.arange(*part) for part in parts]).tolist() == list(range(length))
    for first, (begin, end) in zip(firsts, parts, strict=True):
        assert first <= begin < end <= first + min(size, length)


def test_a_name_says_where_its_patch_lies():
    spot = Spot("DJI_0001", 512, 12_800)
    assert spot.name == "DJI_0001_patch_00512_12800" and Spot.of(spot.name) == spot
    assert Spot.of("DJI_0001") is None
    assert [s.name for s in spots("a", 32, 50, 32, 32)] == ["a_patch_00000_00000", "a_patch_00000_00018"]
