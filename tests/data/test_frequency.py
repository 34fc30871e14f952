from pathlib import Path

import numpy as np
import pytest

from semiseg.data.frequency import balanced_weights, class_counts
from semiseg.data.index import PatchIndex
from semiseg.data.layouts.salak import SalakLayout
from semiseg.data.masks import read_mask
from semiseg.errors import DataError


@pytest.fixture
def index(salak_root: Path) -> PatchIndex:
    return SalakLayout().scan(salak_root)


def test_counts_match_a_plain_count(index: PatchIndex, salak_root: Path, tmp_path: Path) -> None:
    classes = SalakLayout().classes(salak_root, None)
    patches = np.flatnonzero(index.has_mask)[::2]
    expected = np.zeros(7, dtype=np.int64)
    for patch in patches:
        path = index.mask_path(patch)
        assert path is not None
        mask = read_mask(path, classes)
        for number in range(7):
            expected[number] += int((mask == number).sum())
    counts = class_counts(index, patches, classes, tmp_path, "raise")
    assert counts.tolist() == expected.tolist()
    assert counts.sum() == len(patches) * (32 * 32 - 1)  # one ignored pixel a mask
    assert class_counts(index, patches, classes, tmp_path, "raise").tolist() == expected.tolist()


def test_cache_is_read_until_a_mask_changes(index: PatchIndex, salak_root: Path, tmp_path: Path) -> None:
    classes = SalakLayout().classes(salak_root, None)
    patches = np.flatnonzero(index.has_mask)
    class_counts(index, patches, classes, tmp_path, "raise")
    (file,) = tmp_path.glob("counts-*.json")
    file.write_text("[1, 2, 3, 4, 5, 6, 7]")
    assert class_counts(index, patches, classes, tmp_path, "raise").tolist() == [1, 2, 3, 4, 5, 6, 7]
    file.write_text("[1, 2")
    assert class_counts(index, patches, classes, tmp_path, "raise").sum() == len(patches) * 1023
    mask = index.mask_path(int(patches[0]))
    assert mask is not None
    mask.write_bytes(mask.read_bytes() + b"\0")
    assert class_counts(index, patches, classes, tmp_path, "raise").sum() == len(patches) * 1023
    assert len(list(tmp_path.glob("counts-*.json"))) == 2


def test_unreadable_mask(index: PatchIndex, salak_root: Path, tmp_path: Path) -> None:
    classes = SalakLayout().classes(salak_root, None)
    patches = np.flatnonzero(index.has_mask)
    mask = index.mask_path(int(patches[0]))
    assert mask is not None
    mask.write_bytes(b"broken")
    with pytest.raises(DataError, match=mask.name):
        class_counts(index, patches, classes, tmp_path, "raise")
    assert class_counts(index, patches, classes, tmp_path, "skip").sum() == (len(patches) - 1) * 1023


def test_balanced_weights_average_one_over_the_pixels() -> None:
    counts = np.array([600, 0, 300, 100])
    weights = balanced_weights(counts)
    assert weights.dtype == np.float32
    assert np.allclose(weights, [1000 / 1800, 0, 1000 / 900, 1000 / 300])
    assert np.isclose((weights * counts).sum() / counts.sum(), 1)
    assert np.allclose(weights[counts > 0] * counts[counts > 0], 1000 / 3)  # every class weighs the same


def test_nothing_to_balance() -> None:
    with pytest.raises(DataError, match="class_weights=null"):
        balanced_weights(np.zeros(3, dtype=np.int64))
