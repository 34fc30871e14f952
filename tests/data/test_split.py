from pathlib import Path
from typing import Any

import numpy as np
import pytest

from semiseg.data.config import DataConfig
from semiseg.data.index import FREE, TRAIN, VAL, PatchIndex
from semiseg.data.layouts.salak import SalakLayout
from semiseg.data.split import Pools, make_pools, read_source_list
from semiseg.errors import ConfigError, DataError


def make_index(sizes: list[int], masked: list[int] | None = None, subset: list[int] | None = None) -> PatchIndex:
    """Source s has sizes[s] patches, of which the first masked[s] have a mask."""
    masked = sizes if masked is None else masked
    source_id = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
    has_mask = np.concatenate([np.arange(size) < count for size, count in zip(sizes, masked, strict=True)])
    fixed = np.repeat(np.array(subset or [FREE] * len(sizes), dtype=np.int8), sizes)
    stems = np.array([b"%d" % number for number in range(len(source_id))])
    return PatchIndex(
        root=Path("root"),
        sources=[f"s{number}" for number in range(len(sizes))],
        source_id=source_id,
        subset=fixed,
        stems=stems,
        places=[("images/", ".png")],
        image_place=np.zeros(len(stems), np.int32),
        mask_place=np.where(has_mask, 0, -1).astype(np.int32),
    )


def sources(index: PatchIndex, patches: np.ndarray) -> set[str]:
    return {index.sources[number] for number in index.source_id[patches]}


def write_list(path: Path, *lines: str) -> str:
    path.write_text("\n".join(lines), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("seed", range(20))
def test_by_source_aims_at_the_share_of_patches(seed: int) -> None:
    sizes = np.random.default_rng(seed).integers(3, 60, size=40).tolist()
    index = make_index(sizes)
    pools = make_pools(index, DataConfig(split_seed=seed))
    assert not sources(index, pools.train) & sources(index, pools.val)
    assert len(pools.train) + len(pools.val) == len(index)
    assert abs(len(pools.val) / len(index) - 0.2) < 0.02


@pytest.mark.parametrize("sizes", [[1, 1], [50, 1], [1, 50], [10, 10, 500]])
@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_both_sides_get_a_source(sizes: list[int], share: float) -> None:
    pools = make_pools(make_index(sizes), DataConfig(val_split=share))
    assert len(pools.train)
    assert len(pools.val)


def test_by_patch_has_the_sizes_of_the_guides() -> None:
    index = make_index([257] * 50 + [1] * 6)
    assert len(index) == 12_856
    pools = make_pools(index, DataConfig(split_by="patch"))
    assert (len(pools.train), len(pools.val)) == (10_285, 2_571)
    (warning,) = pools.warnings
    assert warning.startswith("50 sources are on both sides")


def test_split_depends_on_the_seed_alone() -> None:
    index = make_index([7, 9, 4, 8, 6, 5, 3, 9, 8, 7])
    for split_by in ("source", "patch"):
        first, second, other = (
            make_pools(index, DataConfig(split_by=split_by, split_seed=seed)).val.tolist() for seed in (1, 1, 2)
        )
        assert first == second != other


def test_patches_beside_validation_stay_out_of_the_unlabelled_pool() -> None:
    index = make_index([10] * 6, masked=[5] * 6)
    by_source = make_pools(index, DataConfig())
    assert not sources(index, by_source.unlabeled) & sources(index, by_source.val)
    assert len(by_source.unlabeled) == 30 - 5 * len(sources(index, by_source.val))
    by_patch = make_pools(index, DataConfig(split_by="patch"))
    assert len(by_patch.unlabeled) == 30


@pytest.mark.parametrize("split_by", ["source", "patch"])
def test_pools_are_disjoint_and_hold_everything_they_should(split_by: str, tmp_path: Path) -> None:
    index = make_index([10, 12, 8, 9, 11, 10], masked=[10, 12, 4, 0, 11, 10])
    listed = write_list(tmp_path / "few.txt", "s0", "s1", "s2")
    pools = make_pools(index, DataConfig(labeled_list=listed, split_by=split_by))
    pools.check_disjoint()
    assert sources(index, pools.train) | sources(index, pools.val) <= {"s0", "s1", "s2"}
    assert index.has_mask[pools.train].all()
    assert index.has_mask[pools.val].all()
    assert sources(index, pools.unlabeled) >= {"s3", "s4", "s5"}
    hidden = pools.unlabeled[index.has_mask[pools.unlabeled]]
    assert sources(index, hidden) == {"s4", "s5"}
    assert "(21 with a hidden mask)" in pools.notes[2]


@pytest.mark.parametrize("split_by", ["source", "patch"])
def test_val_list_replaces_the_split(split_by: str, tmp_path: Path) -> None:
    index = make_index([10] * 5, masked=[10, 10, 6, 10, 0])
    cfg = DataConfig(
        labeled_list=write_list(tmp_path / "few.txt", "s0", "s2"),
        val_list=write_list(tmp_path / "val.txt", "s2", "s3"),
        split_by=split_by,
    )
    pools = make_pools(index, cfg)
    assert sources(index, pools.train) == {"s0"}
    assert sources(index, pools.val) == {"s2", "s3"}
    assert len(pools.val) == 16
    assert sources(index, pools.unlabeled) == {"s1", "s4"}
    (warning,) = pools.warnings
    assert warning.startswith("1 sources are in both")


def test_subsets_that_the_layout_fixes() -> None:
    index = make_index([1] * 9, masked=[1] * 6 + [0] * 3, subset=[TRAIN] * 4 + [VAL] * 2 + [FREE] * 3)
    pools = make_pools(index, DataConfig())
    assert [pools.train.tolist(), pools.val.tolist(), pools.unlabeled.tolist()] == [[0, 1, 2, 3], [4, 5], [6, 7, 8]]


def test_val_list_does_not_free_fixed_validation_for_training(tmp_path: Path) -> None:
    index = make_index([1] * 6, subset=[TRAIN] * 4 + [VAL] * 2)
    pools = make_pools(index, DataConfig(val_list=write_list(tmp_path / "val.txt", "s0")))
    assert [pools.train.tolist(), pools.val.tolist(), pools.unlabeled.tolist()] == [[1, 2, 3], [0], []]


def test_notes_count_patches_and_sources() -> None:
    index = make_index([1500, 1500, 10], masked=[1500, 1500, 0])
    lines = make_pools(index, DataConfig(val_split=0.5)).notes
    assert lines == [
        "labelled train 1,500 patches of 1 source",
        "validation 1,500 patches of 1 source",
        "unlabelled 10 patches of 1 source",
    ]


def test_overlap_is_an_error() -> None:
    pools = Pools(np.array([1, 2, 3]), np.array([4]), np.array([3, 9]))
    with pytest.raises(DataError, match=r"1 patches are in both the labelled train and the unlabelled pool.*patch 3"):
        pools.check_disjoint()


def test_real_lists(dubai: Path) -> None:
    index = SalakLayout().scan(dubai)
    cfg = DataConfig(labeled_list=str(dubai / "labeled_few.txt"), val_list=str(dubai / "val.txt"))
    pools = make_pools(index, cfg)
    pools.check_disjoint()
    assert [len(pools.train), len(pools.val), len(pools.unlabeled)] == [31, 145, 1015 - 145 - 31]


def test_list_entries_may_have_folders_suffixes_and_comments(tmp_path: Path) -> None:
    names = ["DJI 01", "b.v2", "c", "d"]
    lines = ["\ufeff# head", "DJI 01.JPG", "", "b.v2  # why", "x/y/c.png", "tiles\\d.tif", "d"]
    path = Path(write_list(tmp_path / "list.txt", *lines))
    assert read_source_list(path, names, "data.labeled_list") == [0, 1, 2, 3]


@pytest.mark.parametrize("setting", ["labeled_list", "val_list"])
def test_unknown_source_is_named_with_near_matches(tmp_path: Path, setting: str) -> None:
    path = write_list(tmp_path / "list.txt", "s0", "s11x")
    settings: dict[str, Any] = {setting: path}
    with pytest.raises(DataError) as error:
        make_pools(make_index([2] * 12), DataConfig(**settings))
    for part in (path, "1 of 2 sources", "s11x", "Nearest to s11x: s11", f"data.{setting}="):
        assert part in str(error.value)


@pytest.mark.parametrize("lines", [None, [], ["# nothing"]])
def test_missing_or_empty_list(tmp_path: Path, lines: list[str] | None) -> None:
    path = tmp_path / "list.txt"
    if lines is not None:
        write_list(path, *lines)
    with pytest.raises(DataError, match=r"does not exist|names no source"):
        make_pools(make_index([2, 2]), DataConfig(labeled_list=str(path)))


@pytest.mark.parametrize(
    ("sizes", "masked", "settings", "message"),
    [
        ([5, 5], [0, 0], {}, "none of the 10 images has a mask"),
        ([5, 5], [5, 0], {}, "one source, s0.*data.split_by=patch"),
        ([5, 5], [1, 0], {"split_by": "patch"}, "validation pool is empty"),
        ([5, 5], [5, 0], {"val": "s1"}, "validation pool is empty.*no source of"),
        ([5, 5], [5, 0], {"val": "s0"}, "no labelled patch is left"),
        ([5, 5], [5, 0], {"labeled": "s1"}, "no labelled patch is left.*names no source with a mask"),
    ],
)
def test_empty_pool_is_an_error_with_its_cause(
    tmp_path: Path, sizes: list[int], masked: list[int], settings: dict[str, str], message: str
) -> None:
    cfg = DataConfig(split_by=settings.get("split_by", "source"))
    for name in ("val", "labeled"):
        if name in settings:
            setattr(cfg, f"{name}_list", write_list(tmp_path / f"{name}.txt", settings[name]))
    with pytest.raises(DataError, match=message):
        make_pools(make_index(sizes, masked), cfg)


@pytest.mark.parametrize(
    "settings", [{"split_by": "image"}, {"on_error": "ignore"}, {"val_split": 0.0}, {"val_split": 1.0}]
)
def test_settings_are_checked(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        DataConfig(**settings)
