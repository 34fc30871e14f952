import shutil
from pathlib import Path

import numpy as np
import pytest

from semiseg.data.layouts.salak import SalakLayout
from semiseg.errors import ConfigError, DataError


def test_scan(salak_root: Path) -> None:
    index = SalakLayout().scan(salak_root)
    assert len(index) == 24
    assert index.sources == list("abcdef")
    assert int(index.has_mask.sum()) == 16
    assert [index.name(patch) for patch in range(24)] == sorted(index.name(patch) for patch in range(24))
    for patch in range(24):
        assert index.name(patch).split("/")[-1].startswith(index.sources[index.source_id[patch]] + "_patch_")
        assert (index.mask_path(patch) is not None) == index.has_mask[patch]


def test_real_patches(dubai: Path) -> None:
    index = SalakLayout().scan(dubai)
    assert len(index) == 1015
    assert len(index.sources) == 56
    assert index.has_mask.all()
    images = sorted(path for path in dubai.glob("*-*/images/*.jpg"))
    assert [index.image_path(patch) for patch in range(1015)] == images
    for patch in (0, 500, 1014):
        mask = index.mask_path(patch)
        assert mask is not None
        assert mask.is_file()
        assert mask.stem == index.image_path(patch).stem


def test_source_in_two_folders_is_one_source(salak_root: Path) -> None:
    images = salak_root / "salak-2-1" / "images"
    shutil.copy(images / "e_patch_000_000.png", images / "a_patch_009_009.png")
    index = SalakLayout().scan(salak_root)
    assert index.sources == list("abcdef")
    assert int(np.sum(index.source_id == 0)) == 5


def test_images_of_several_suffixes(salak_root: Path) -> None:
    images = salak_root / "salak-1-1" / "images"
    (images / "a_patch_000_000.png").rename(images / "a_patch_000_000.JPG")
    index = SalakLayout().scan(salak_root)
    assert index.image_path(0).name == "a_patch_000_000.JPG"
    mask = index.mask_path(0)
    assert mask is not None
    assert mask.name == "a_patch_000_000.png"


def test_mask_without_image(salak_root: Path) -> None:
    masks = salak_root / "salak-1-1" / "masks"
    shutil.copy(masks / "a_patch_000_000.png", masks / "z_patch_000_000.png")
    with pytest.raises(DataError) as error:
        SalakLayout().scan(salak_root)
    assert str(masks / "z_patch_000_000.png") in str(error.value)
    assert "1 of 9 masks" in str(error.value)


def test_masks_without_any_image(salak_root: Path) -> None:
    for image in (salak_root / "salak-1-1" / "images").iterdir():
        image.unlink()
    with pytest.raises(DataError, match="8 of 8 masks"):
        SalakLayout().scan(salak_root)


def test_two_images_of_one_name(salak_root: Path) -> None:
    images = salak_root / "salak-1-1" / "images"
    shutil.copy(images / "a_patch_000_000.png", images / "a_patch_000_000.jpg")
    with pytest.raises(DataError, match=r"a_patch_000_000\.(jpg|png) and .*have the same name"):
        SalakLayout().scan(salak_root)


def test_no_patch_folder(salak_root: Path) -> None:
    with pytest.raises(DataError, match=r"salak-1-1 has no patch folder.*holds the folders images, masks.*data.root="):
        SalakLayout().scan(salak_root / "salak-1-1")
    with pytest.raises(DataError, match="drone_"):
        SalakLayout(folders="drone_*").scan(salak_root)


def test_empty_folders(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="it holds no folder"):
        SalakLayout().scan(tmp_path / "empty")
    (tmp_path / "root" / "salak-1" / "images").mkdir(parents=True)
    with pytest.raises(DataError, match="hold no file ending in"):
        SalakLayout().scan(tmp_path / "root")


def test_no_class_mapping(salak_root: Path) -> None:
    (salak_root / "class_mapping.csv").unlink()
    with pytest.raises(DataError, match=r"data.class_mapping=PATH"):
        SalakLayout().classes(salak_root, None)


@pytest.mark.parametrize("folders", ["", "..", "../*-*", "/data/*-*", "C:\\data", "a\\..\\b"])
def test_folders_stay_below_the_root(folders: str) -> None:
    with pytest.raises(ConfigError, match=r"data\.layout\.folders is .* below the root"):
        SalakLayout(folders=folders)
