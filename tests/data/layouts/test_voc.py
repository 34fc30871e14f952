from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from semiseg.data.config import DataConfig
from semiseg.data.index import PatchIndex
from semiseg.data.layouts.voc import VocLayout, voc_color
from semiseg.data.masks import read_mask
from semiseg.data.split import Pools, make_pools
from semiseg.errors import ConfigError, DataError

LISTS = {"train": ["2007_1", "2007_2"], "val": ["2008_1"], "trainval": ["2007_1", "2007_2", "2008_1"]}
LISTS["train_aug"] = ["2007_1", "2007_2", "2009_1", "2009_2"]


@pytest.fixture
def voc_root(tmp_path: Path) -> Path:
    """Six images: two of train, one of val, two more of train_aug, one in no list."""
    base = tmp_path / "VOCdevkit" / "VOC2012"
    for folder in ("JPEGImages", "SegmentationClass", "SegmentationClassAug", "ImageSets/Segmentation"):
        (base / folder).mkdir(parents=True)
    for stem in ("2007_1", "2007_2", "2008_1", "2009_1", "2009_2", "2010_1"):
        (base / "JPEGImages" / f"{stem}.jpg").touch()
    for stem in LISTS["trainval"]:
        (base / "SegmentationClass" / f"{stem}.png").touch()
    for stem in LISTS["train_aug"]:
        (base / "SegmentationClassAug" / f"{stem}.png").touch()
    for name, stems in LISTS.items():
        (base / "ImageSets" / "Segmentation" / f"{name}.txt").write_text("\n".join(stems) + "\n")
    return tmp_path


def split(root: Path, train_set: str) -> tuple[PatchIndex, Pools]:
    index = VocLayout(train_set).scan(root)
    return index, make_pools(index, DataConfig(val_split=0.34))


def names(index: PatchIndex, patches: np.ndarray) -> list[str]:
    return [index.image_path(patch).stem for patch in patches]


def test_train(voc_root: Path) -> None:
    index, pools = split(voc_root, "train")
    assert names(index, pools.train) == LISTS["train"]
    assert names(index, pools.val) == LISTS["val"]
    assert names(index, pools.unlabeled) == ["2009_1", "2009_2", "2010_1"]


def test_train_aug_reads_its_own_masks(voc_root: Path) -> None:
    index, pools = split(voc_root, "train_aug")
    assert names(index, pools.train) == LISTS["train_aug"]
    assert names(index, pools.val) == LISTS["val"]
    assert names(index, pools.unlabeled) == ["2010_1"]
    folders = [path.parent.name for patch in (*pools.train, *pools.val) if (path := index.mask_path(patch))]
    assert folders == ["SegmentationClassAug"] * 4 + ["SegmentationClass"]


def test_trainval_holds_validation_out_of_itself(voc_root: Path) -> None:
    index, pools = split(voc_root, "trainval")
    assert sorted(names(index, pools.train) + names(index, pools.val)) == LISTS["trainval"]
    assert len(pools.val) == 1
    assert names(index, pools.unlabeled) == ["2009_1", "2009_2", "2010_1"]


@pytest.mark.parametrize("train_set", ["train", "train_aug", "trainval"])
def test_pools_are_disjoint(voc_root: Path, train_set: str) -> None:
    split(voc_root, train_set)[1].check_disjoint()


def test_list_of_two_paths_a_line(voc_root: Path) -> None:
    path = voc_root / "VOCdevkit/VOC2012/ImageSets/Segmentation/train_aug.txt"
    path.write_text("".join(f"/JPEGImages/{s}.jpg /SegmentationClassAug/{s}.png\n" for s in LISTS["train_aug"]))
    index, pools = split(voc_root, "train_aug")
    assert names(index, pools.train) == LISTS["train_aug"]


def test_classes_are_those_of_the_development_kit() -> None:
    classes = VocLayout().classes(Path(), None)
    assert classes.num_classes == 21
    assert classes.names[15] == "person"
    assert classes.colors[:3] == ((0, 0, 0), (128, 0, 0), (0, 128, 0))
    assert classes.colors[15] == (192, 128, 128)
    assert classes.colors[20] == (0, 64, 128)
    assert voc_color(255) == (224, 224, 192)


def test_palette_mask(tmp_path: Path) -> None:
    ids = np.array([[0, 15, 20], [255, 1, 0]], dtype=np.uint8)
    image = Image.frombytes("P", (3, 2), ids.tobytes())
    image.putpalette([value for number in range(256) for value in voc_color(number)])
    image.save(tmp_path / "m.png")
    assert np.array_equal(read_mask(tmp_path / "m.png", VocLayout().classes(tmp_path, None)), ids)


def test_lists_and_folders_validate_the_cache(voc_root: Path) -> None:
    watched = {path.name for path in VocLayout("train_aug").folders(voc_root)}
    assert watched >= {"JPEGImages", "SegmentationClass", "SegmentationClassAug", "train_aug.txt", "val.txt"}


def test_bad_sets(voc_root: Path, tmp_path: Path) -> None:
    base = voc_root / "VOCdevkit" / "VOC2012"
    with pytest.raises(ConfigError, match="train_set is 'all'"):
        VocLayout("all")
    (base / "ImageSets" / "Segmentation" / "train.txt").unlink()
    with pytest.raises(DataError, match=r"train\.txt does not exist"):
        VocLayout().scan(voc_root)
    (base / "SegmentationClass" / "2008_1.png").unlink()
    with pytest.raises(DataError, match=r"2008_1\.png does not exist, though .*trainval"):
        VocLayout("trainval").scan(voc_root)
    (base / "JPEGImages" / "2007_2.jpg").unlink()
    with pytest.raises(DataError, match="names '2007_2', which is not in JPEGImages"):
        VocLayout("train_aug").scan(voc_root)
    with pytest.raises(DataError, match="is no VOC folder"):
        VocLayout().scan(base / "JPEGImages")
