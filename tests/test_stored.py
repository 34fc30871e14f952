"""What a stored config may build."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from semiseg.config import conf_dir
from semiseg.errors import ConfigError
from semiseg.losses import SegmentationLoss
from semiseg.stored import check_targets, named_in_recipes

FILE = Path("run", ".hydra", "config.yaml")
OURS = "semiseg.losses.SegmentationLoss"


class Derived(SegmentationLoss):
    """A class of the user's own."""


def check(target: Any) -> None:
    check_targets({"loss": {"_target_": target}}, FILE)


def test_classes_of_the_project_pass_wherever_they_stand() -> None:
    check_targets({"a": {"_target_": OURS, "b": [{"_target_": OURS}], "c": {"_target_": OURS}}, "d": None}, FILE)


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "subprocess.Popen",
        "semiseg.run_folder.subprocess.Popen",  # reached through the package
        "semiseg.run_folder.RunLock.acquire",  # no class
        "semiseg.tracking.local.write_text",
        "collections.OrderedDict",  # a class, of others
        7,
    ],
)
def test_others_are_refused_with_file_and_key(target: Any) -> None:
    with pytest.raises(
        ConfigError, match=r"config\.yaml: loss\._target_ is .*no class of semiseg.*--config-dir=FOLDER"
    ):
        check(target)


def test_targets_are_found_in_lists_and_below_other_nodes() -> None:
    with pytest.raises(ConfigError, match=r"config\.yaml: model\.parts\[1\]\.inner\._target_ is 'os\.system'"):
        check_targets({"model": {"_target_": OURS, "parts": [1, {"inner": {"_target_": "os.system"}}]}}, FILE)


def test_what_would_be_resolved_later_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"loss\.x is .* plain values alone"):
        check_targets({"loss": {"_target_": OURS, "x": "${oc.create:{_target_:os.system}}"}}, FILE)


def test_a_module_is_not_imported_to_look_at_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hostile_module.py").write_text("raise SystemExit('imported')", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ConfigError, match=r"hostile_module\.Net"):
        check("hostile_module.Net")
    assert "hostile_module" not in sys.modules


def test_a_derived_class_that_the_program_imported_passes() -> None:
    check(f"{__name__}.Derived")


def test_a_class_that_a_recipe_in_config_dir_names_passes(tmp_path: Path) -> None:
    (tmp_path / "loss").mkdir()
    (tmp_path / "loss" / "own.yaml").write_text("_target_: entropy.LowEntropy # mine\n", encoding="utf-8")
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = compose("predict", return_hydra_config=True)
    try:
        OmegaConf.update(
            config,
            "hydra.runtime.config_sources",
            [{"path": str(path), "schema": "file", "provider": provider}
             for path, provider in ((tmp_path, "command-line"), (conf_dir(), "main"))],
            force_add=True,
        )  # fmt: skip
        HydraConfig.instance().set_config(config)
        assert named_in_recipes() == {"entropy.LowEntropy"}
        check("entropy.LowEntropy")
        with pytest.raises(ConfigError, match=r"no class of semiseg"):
            check("entropy.Other")
    finally:
        HydraConfig.instance().cfg = None
    assert named_in_recipes() == set()
