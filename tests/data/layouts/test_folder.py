from pathlib import Path

import pytest

from semiseg.data.layouts.folder import FolderLayout
from semiseg.errors import ConfigError, DataError


def make_files(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def pairs(layout: FolderLayout, root: Path) -> dict[str, str | None]:
    """Image -> mask, both below the root."""
    index = layout.scan(root)
    found = {}
    for patch in range(len(index)):
        mask = index.mask_path(patch)
        image = index.image_path(patch).relative_to(root).as_posix()
        found[image] = None if mask is None else mask.relative_to(root).as_posix()
    return found


def test_two_folders(tmp_path: Path) -> None:
    make_files(tmp_path, "images/b.jpg", "images/a.png", "images/c.tif", "masks/a.png", "masks/b.png")
    assert pairs(FolderLayout(), tmp_path) == {
        "images/a.png": "masks/a.png",
        "images/b.jpg": "masks/b.png",
        "images/c.tif": None,
    }


def test_image_and_mask_beside_each_other(tmp_path: Path) -> None:
    make_files(tmp_path, "2_sat.jpg", "10_sat.jpg", "10_mask.png")
    layout = FolderLayout(images="*_sat.jpg", masks="*_mask.png")
    assert pairs(layout, tmp_path) == {"10_sat.jpg": "10_mask.png", "2_sat.jpg": None}
    assert layout.scan(tmp_path).name(0) == "10"


def test_folders_by_glob(tmp_path: Path) -> None:
    make_files(tmp_path, "train/rural/img/1.png", "train/urban/img/2.png", "train/urban/label/2.png")
    layout = FolderLayout(images="train/*/img/*", masks="train/*/label/*.png")
    assert pairs(layout, tmp_path) == {
        "train/rural/img/1.png": None,
        "train/urban/img/2.png": "train/urban/label/2.png",
    }
    watched = layout.folders(tmp_path)
    assert {tmp_path, tmp_path / "train" / "urban" / "label", tmp_path / "train" / "rural"} <= set(watched)


def test_sources(tmp_path: Path) -> None:
    make_files(tmp_path, "images/x1_patch_0.png", "images/x1_patch_1.png", "images/y2.png")
    assert FolderLayout().scan(tmp_path).sources == ["x1", "y2"]
    assert FolderLayout(source_pattern="^[a-z]").scan(tmp_path).sources == ["x", "y"]
    index = FolderLayout(source_pattern=r"^[a-z](\d)").scan(tmp_path)
    assert index.sources == ["1", "2"]
    assert index.source_id.tolist() == [0, 0, 1]


def test_source_pattern_must_match_every_name(tmp_path: Path) -> None:
    make_files(tmp_path, "images/x1.png", "images/y.png")
    with pytest.raises(DataError, match=r"y\.png: the name does not match"):
        FolderLayout(source_pattern=r"\d").scan(tmp_path)


@pytest.mark.parametrize(
    "settings",
    [
        {"images": "/data/*"},
        {"masks": "../masks/*"},
        {"images": "C:\\data\\*"},
        {"images": "images/one.png"},
        {"source_pattern": "("},
    ],
)
def test_settings_are_checked(settings: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=f"data.layout.{next(iter(settings))}"):
        FolderLayout(**settings)  # type: ignore[arg-type]


def test_mask_without_image(tmp_path: Path) -> None:
    make_files(tmp_path, "images/a.png", "masks/b.png")
    with pytest.raises(DataError, match=r"b\.png is a mask without an image"):
        FolderLayout().scan(tmp_path)


def test_same_name_in_two_folders(tmp_path: Path) -> None:
    make_files(tmp_path, "r/img/1.png", "u/img/1.png")
    with pytest.raises(DataError, match="have the same name"):
        FolderLayout(images="*/img/*", masks="*/label/*").scan(tmp_path)


def test_no_image(tmp_path: Path) -> None:
    make_files(tmp_path, "pictures/a.png")
    with pytest.raises(DataError, match=r"matches images/.*holds the folders pictures.*data.layout.images"):
        FolderLayout().scan(tmp_path)


def test_class_mapping_is_required(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"data.class_mapping=PATH"):
        FolderLayout().classes(tmp_path, None)
