from pathlib import Path

import pytest

from semiseg.data.build import build_data
from semiseg.data.config import DataConfig
from semiseg.data.layouts.demo import DemoLayout


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("layout") / "set"


def small() -> DemoLayout:
    return DemoLayout(flights=5, labeled_flights=2, val_flights=2, scene_size=[384, 512], patch_size=128)


def test_scan_draws_the_scenes_first(root: Path) -> None:
    index = small().scan(root)
    assert len(index) == 5 * 12
    assert index.has_mask.all()
    assert len(index.sources) == 5


def test_pools_hide_the_masks_of_the_other_flights(root: Path) -> None:
    config = DataConfig(
        root=str(root),
        layout=small(),
        labeled_list=str(root / "labeled.txt"),
        val_list=str(root / "val.txt"),
        cache_dir=str(root.parent / "cache"),
    )
    bundle = build_data(config)
    assert [len(pool) for pool in (bundle.pools.train, bundle.pools.val, bundle.pools.unlabeled)] == [24, 24, 12]
    assert bundle.has_hidden_masks
    assert bundle.classes.names[5] == "Snake Fruit"
    assert (bundle.counts() > 0).all()
