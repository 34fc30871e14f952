import os
from pathlib import Path

import numpy as np
import pytest

from semiseg.data.layouts.listing import NamePattern, list_folder, number_sources, prefix_of, sort_order
from semiseg.errors import ConfigError

SUFFIXES = (".png", ".jpg")


def listed(folder: Path, pattern: str, *names: str) -> dict[str, str]:
    """Stem -> file of what a pattern lists among `names`."""
    (folder / "tiles").mkdir()
    for name in names:
        (folder / "tiles" / name).touch()
    places: list[tuple[str, str]] = []
    listing = list_folder(folder, folder / "tiles", NamePattern.parse(pattern, SUFFIXES, "data.layout.images"), places)
    assert listing.stems.tolist() == sorted(listing.stems.tolist())
    return {
        os.fsdecode(stem): places[place][0] + os.fsdecode(stem) + places[place][1]
        for stem, place in zip(listing.stems.tolist(), listing.place, strict=True)
    }


def test_any_suffix_in_any_case(tmp_path: Path) -> None:
    found = listed(tmp_path, "*", "b.PNG", "a.jpg", "c.d.png", "notes.txt", "README", "._a.jpg", ".DS_Store")
    assert found == {"a": "tiles/a.jpg", "b": "tiles/b.PNG", "c.d": "tiles/c.d.png"}


def test_ending_before_the_suffix(tmp_path: Path) -> None:
    assert listed(tmp_path, "*_sat.*", "1_sat.jpg", "2_sat.png", "1_mask.png", "longer_sat.jpg") == {
        "1": "tiles/1_sat.jpg",
        "2": "tiles/2_sat.png",
        "longer": "tiles/longer_sat.jpg",
    }


def test_prefix_and_suffix(tmp_path: Path) -> None:
    assert listed(tmp_path, "img_*.gif", "img_1.gif", "img_2.png", "1.gif") == {"1": "tiles/img_1.gif"}


def test_unicode_names(tmp_path: Path) -> None:
    assert listed(tmp_path, "*", "ž_ä.png", "日本.png").keys() == {"ž_ä", "日本"}


def test_missing_folder_is_empty(tmp_path: Path) -> None:
    listing = list_folder(tmp_path, tmp_path / "none", NamePattern("", "", SUFFIXES), [])
    assert len(listing.stems) == len(listing.place) == 0


@pytest.mark.parametrize("text", ["image.png", "*_*.png", "?.png", "[ab]*.png"])
def test_ambiguous_pattern(text: str) -> None:
    with pytest.raises(ConfigError, match=r"data.layout.masks"):
        NamePattern.parse(text, SUFFIXES, "data.layout.masks")


@pytest.mark.parametrize("alphabet", [b"ab", b"0123456789abcdefghijklmnop_\xc3\xff"])
def test_sort_order_is_the_stable_byte_order(alphabet: bytes) -> None:
    rng = np.random.default_rng(0)
    names = np.array([bytes(rng.choice(list(alphabet), rng.integers(1, 30)).tolist()) for _ in range(500)])
    assert np.array_equal(sort_order(names), np.argsort(names, kind="stable"))


def test_sort_order_of_equal_and_single_names() -> None:
    assert sort_order(np.array([b"same", b"same"])).tolist() == [0, 1]
    assert sort_order(np.array([b"one"])).tolist() == [0]


def test_sources_are_numbered_by_name() -> None:
    stems = np.array([b"b_patch_0", b"b_patch_1", b"alone", b"a_patch_patch_2", b"b_patch_3", b"b_patchy"])
    assert prefix_of(stems, "_patch_").tolist() == [b"b", b"b", b"alone", b"a", b"b", b"b_patchy"]
    names, number = number_sources(prefix_of(stems, "_patch_"))
    assert names == ["a", "alone", "b", "b_patchy"]
    assert number.tolist() == [2, 2, 1, 0, 2, 3]
