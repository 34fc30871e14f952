import os
import pickle
import time
from pathlib import Path

import numpy as np
import pytest

from semiseg.data.index import PatchIndex, cached_index
from semiseg.data.layouts.salak import SalakLayout


@pytest.fixture
def index(salak_root: Path) -> PatchIndex:
    return SalakLayout().scan(salak_root)


def same(first: PatchIndex, second: PatchIndex) -> bool:
    return first.fingerprint() == second.fingerprint() and first.root == second.root


def test_paths_and_names(index: PatchIndex, salak_root: Path) -> None:
    assert index.name(0) == "salak-1-1/images/a_patch_000_000"
    assert index.image_path(0) == salak_root / "salak-1-1" / "images" / "a_patch_000_000.png"
    assert index.mask_path(0) == salak_root / "salak-1-1" / "masks" / "a_patch_000_000.png"
    unmasked = int(np.flatnonzero(~index.has_mask)[0])
    assert index.mask_path(unmasked) is None
    assert all(index.image_path(patch).is_file() for patch in range(len(index)))


def test_survives_a_file_and_a_pickle(index: PatchIndex, tmp_path: Path) -> None:
    index.save(tmp_path / "index.npz")
    for copy in (PatchIndex.load(tmp_path / "index.npz", index.root), pickle.loads(pickle.dumps(index))):
        assert same(copy, index)
        assert copy.sources == index.sources
        assert [copy.image_path(patch) for patch in range(24)] == [index.image_path(patch) for patch in range(24)]
        assert np.array_equal(copy.has_mask, index.has_mask)
    assert list(tmp_path.glob("*.part")) == []


def test_takes_no_python_object_a_patch(index: PatchIndex) -> None:
    many = PatchIndex(
        root=index.root,
        sources=index.sources,
        source_id=np.zeros(10_000, np.int32),
        subset=np.zeros(10_000, np.int8),
        stems=np.full(10_000, b"DJI_20240611_000001_patch_012_016"),
        places=index.places,
        image_place=np.zeros(10_000, np.int32),
        mask_place=np.zeros(10_000, np.int32),
    )
    assert len(pickle.dumps(many)) < 10_000 * 64


def test_fingerprint_follows_the_content(index: PatchIndex, salak_root: Path) -> None:
    assert SalakLayout().scan(salak_root).fingerprint() == index.fingerprint()
    moved = salak_root.rename(salak_root.with_name("moved"))
    assert SalakLayout().scan(moved).fingerprint() == index.fingerprint()
    (moved / "salak-1-1" / "masks" / "a_patch_000_000.png").unlink()
    without_mask = SalakLayout().scan(moved).fingerprint()
    (moved / "salak-1-1" / "images" / "a_patch_000_000.png").unlink()
    assert len({index.fingerprint(), without_mask, SalakLayout().scan(moved).fingerprint()}) == 3


class CountingLayout(SalakLayout):
    scans = 0

    def scan(self, root: Path) -> PatchIndex:
        CountingLayout.scans += 1
        return super().scan(root)


@pytest.fixture
def layout() -> CountingLayout:
    CountingLayout.scans = 0
    return CountingLayout()


def read(layout: SalakLayout, root: Path, cache: Path) -> PatchIndex:
    return cached_index(layout.scan, root, cache, layout.key(root))


def test_cache_is_reused_while_nothing_changes(layout: CountingLayout, salak_root: Path, tmp_path: Path) -> None:
    first, second = (read(layout, salak_root, tmp_path / "cache") for _ in range(2))
    assert layout.scans == 1
    assert same(first, second)


@pytest.mark.parametrize("folder", ["images", "masks"])
def test_cache_is_renewed_after_a_change(layout: CountingLayout, salak_root: Path, tmp_path: Path, folder: str) -> None:
    cache = tmp_path / "cache"
    read(layout, salak_root, cache)
    changed = salak_root / "salak-1-1" / folder
    (changed.parent / "masks" / "a_patch_000_000.png").unlink()
    (changed / "a_patch_000_000.png").unlink(missing_ok=True)
    os.utime(changed, ns=(time.time_ns(), time.time_ns() + 10**9))  # file systems may keep coarse times
    renewed = read(layout, salak_root, cache)
    assert layout.scans == 2
    assert same(renewed, SalakLayout().scan(salak_root))


def test_cache_depends_on_the_settings(layout: CountingLayout, salak_root: Path, tmp_path: Path) -> None:
    read(layout, salak_root, tmp_path / "cache")
    other = read(CountingLayout(separator="_000"), salak_root, tmp_path / "cache")
    assert "a_patch" in other.sources


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 half a file", b"plain text"])
def test_unreadable_cache_is_rebuilt(layout: CountingLayout, salak_root: Path, tmp_path: Path, content: bytes) -> None:
    cache = tmp_path / "cache"
    read(layout, salak_root, cache)
    (file,) = cache.iterdir()
    file.write_bytes(content)
    assert len(read(layout, salak_root, cache)) == 24
    read(layout, salak_root, cache)
    assert layout.scans == 2


def test_cut_cache_is_rebuilt(layout: CountingLayout, salak_root: Path, tmp_path: Path) -> None:
    read(layout, salak_root, tmp_path / "cache")
    (file,) = (tmp_path / "cache").iterdir()
    file.write_bytes(file.read_bytes()[:-100])
    assert len(read(layout, salak_root, tmp_path / "cache")) == 24


def test_cache_that_cannot_be_written_is_no_error(layout: CountingLayout, salak_root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert len(read(layout, salak_root, tmp_path / "file")) == 24
