from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate

from semiseg.config import conf_dir
from semiseg.data.build import build_data
from semiseg.data.config import DataConfig
from semiseg.data.layouts.salak import SalakLayout
from semiseg.errors import ConfigError, DataError


def config(root: Path | None, tmp_path: Path, **settings: Any) -> DataConfig:
    root_text = None if root is None else str(root)
    return DataConfig(root=root_text, layout=SalakLayout(), cache_dir=str(tmp_path / "cache"), **settings)


def test_bundle(salak_root: Path, tmp_path: Path) -> None:
    bundle = build_data(config(salak_root, tmp_path, val_split=0.25))
    assert bundle.classes.num_classes == 7
    assert [len(bundle.pools.train), len(bundle.pools.val), len(bundle.pools.unlabeled)] == [12, 4, 8]
    assert not bundle.has_hidden_masks
    assert bundle.counts().sum() == 12 * 1023


def test_hidden_masks(salak_root: Path, tmp_path: Path) -> None:
    (tmp_path / "few.txt").write_text("a\nb\n")
    assert build_data(config(salak_root, tmp_path, labeled_list=str(tmp_path / "few.txt"))).has_hidden_masks


def test_relative_root_is_read_from_the_working_directory(
    salak_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absolute = build_data(config(salak_root, tmp_path))
    monkeypatch.chdir(salak_root.parent)
    relative = build_data(config(Path(salak_root.name), tmp_path))
    assert relative.index.image_path(0) == absolute.index.image_path(0)
    assert relative.fingerprint() == absolute.fingerprint()


def test_home_is_expanded(salak_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(salak_root.parent))
    cfg = config(Path("~") / salak_root.name, tmp_path, class_mapping="~/salak/class_mapping.csv")
    assert len(build_data(cfg).index) == 24


def test_fingerprint_covers_pools_and_classes(salak_root: Path, tmp_path: Path) -> None:
    first = build_data(config(salak_root, tmp_path)).fingerprint()
    assert build_data(config(salak_root, tmp_path)).fingerprint() == first
    by_patch = build_data(config(salak_root, tmp_path, split_by="patch")).fingerprint()
    mapping = salak_root / "class_mapping.csv"
    mapping.write_text(mapping.read_text(encoding="utf-8").replace("Jalan", "road"), encoding="utf-8")
    assert len({first, by_patch, build_data(config(salak_root, tmp_path)).fingerprint()}) == 3


def test_missing_root(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data.root=PATH"):
        build_data(config(None, tmp_path))
    with pytest.raises(ConfigError, match=r"data.root=PATH"):
        build_data(DataConfig(root="", layout=SalakLayout()))
    with pytest.raises(DataError, match=r"nowhere does not exist.*data.root=PATH"):
        build_data(config(tmp_path / "nowhere", tmp_path))
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="file is a file"):
        build_data(config(tmp_path / "file", tmp_path))


@pytest.mark.parametrize(("excluded", "message"), [([7], "names class 7"), (list(range(7)), "every class")])
def test_excluded_classes_are_checked(salak_root: Path, tmp_path: Path, excluded: list[int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_data(config(salak_root, tmp_path, exclude_from_miou=excluded))


def compose_data(*overrides: str) -> Any:
    """The data node of a composed run."""
    with initialize_config_dir(str(conf_dir().absolute()), version_base="1.3"):
        return compose("train", overrides=["tracking=none", *overrides]).data


@pytest.mark.parametrize("name", ["salak", "voc", "folder", "dubai"])
def test_conf_holds_every_setting_and_a_layout(name: str) -> None:
    node = compose_data(f"data={name}", "data.root=somewhere", "data.class_mapping=classes.csv")
    settings = {key: node[key] for key in node}
    layout = instantiate(settings.pop("layout"))
    cfg = DataConfig(**settings, layout=layout)
    assert set(settings) | {"layout"} == set(vars(cfg))
    assert cfg.root == "somewhere"


def test_dubai_conf_builds(dubai: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEMISEG_DUBAI", str(dubai))
    node = compose_data("data=dubai", "data.labeled_list=null", f"data.cache_dir={(tmp_path / 'cache').as_posix()}")
    bundle = build_data(
        DataConfig(**{key: node[key] for key in node if key != "layout"}, layout=instantiate(node.layout))
    )
    assert set(node.class_thresholds) == set(bundle.classes.names)
    assert [len(bundle.pools.train), len(bundle.pools.val), len(bundle.pools.unlabeled)] == [870, 145, 0]
    share = bundle.counts() / bundle.counts().sum()
    assert np.allclose(share, [0.13, 0.53, 0.09, 0.10, 0.13], atol=0.03)
