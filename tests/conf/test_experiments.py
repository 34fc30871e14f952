"""The lightweight guide's strategies and recipes, cell by cell, and the networks and parts they build."""

from __future__ import annotations

from typing import Any

import pytest

from semiseg.builder import build_model, build_parts
from semiseg.config import build, flatten, plain, settings
from semiseg.data.layouts.voc import VocLayout
from semiseg.engine.settings import OptimConfig, TrainerConfig
from semiseg.overrides import words

VOC = ["data.root=x", "data.encoder_weights=null"]
GUIDE = {  # trainer: what no recipe names is the default of the guide's script
    "model._target_": "semiseg.models.LightweightDSConv",
    "pseudo_label._target_": "semiseg.pseudo_label.NoPseudoLabels",
    "trainer.max_steps": None,
    "trainer.eval_every": None,
    "trainer.batch_size": 8,
    "trainer.crop_size": 512,
    "trainer.num_workers": None,
    "optim.optimizer": "adamw",
    "optim.lr": 1e-4,
    "optim.weight_decay": 1e-4,
    "data.layout.train_set": "train",
    "restore_from": None,
}
FOCAL = {"loss.ce_weight": 0.0, "loss.dice_weight": 0.0, "loss.focal_weight": 1.0}
COMBINED = {"loss.ce_weight": 0.0, "loss.dice_weight": 1.0, "loss.focal_weight": 1.0}
STANDARD = {"aug._target_": "semiseg.aug.ResizeFlip"}
ENHANCED = {"aug._target_": "semiseg.aug.RandomCrop", "aug.scale_range": [0.5, 2.0], "aug.flip": True}
TRAINVAL = {"data.layout.train_set": "trainval"}
RECIPES: dict[str, dict[str, Any]] = {
    "strategy1_quick_test": FOCAL | STANDARD | {"trainer.max_epochs": 50},
    "strategy2_enhanced": FOCAL | ENHANCED | {"trainer.max_epochs": 100},
    "strategy3_maximum": COMBINED | ENHANCED | TRAINVAL | {"trainer.max_epochs": 150},
    "strategy4_finetune": FOCAL | ENHANCED | TRAINVAL | {"trainer.max_epochs": 100, "optim.lr": 5e-5},
    "recipe1_quick_baseline": FOCAL | STANDARD | {"trainer.max_epochs": 30, "trainer.crop_size": 384},
    "recipe2_efficient": FOCAL | ENHANCED | {"trainer.max_epochs": 80},
    "recipe3_maximum_miou": COMBINED | ENHANCED | TRAINVAL | {"trainer.max_epochs": 150},
    "recipe4_budget_gpu": FOCAL | ENHANCED
    | {"trainer.max_epochs": 100, "trainer.batch_size": 4, "trainer.crop_size": 384, "trainer.num_workers": 2},
}  # fmt: skip


def test_every_lightweight_experiment_is_held_against_the_guide() -> None:
    assert {word for word in words("experiment") if word.startswith("lightweight")} == {
        f"lightweight_{name}" for name in RECIPES
    }


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_is_the_guides_and_builds(composed, name: str) -> None:
    config = composed(f"experiment=lightweight_{name}", *VOC)
    found, expected = flatten(plain(config)), GUIDE | RECIPES[name]
    assert {key: found[key] for key in expected} == expected
    settings(TrainerConfig, config.trainer, "trainer")
    build_parts(config, settings(OptimConfig, config.optim, "optim"))
    layout = build(config.data.layout, "data.layout")
    assert isinstance(layout, VocLayout) and layout.train_set == expected["data.layout.train_set"]
    model = build_model(config, num_classes=21)
    assert sum(p.numel() for p in model.parameters()) == 2_516_853


@pytest.mark.parametrize("name", RECIPES)
def test_other_data_brings_its_own_layout_and_crop(composed, name: str) -> None:
    config = composed(f"experiment=lightweight_{name}", "data=dubai")
    build(config.data.layout, "data.layout")
    assert config.trainer.crop_size == RECIPES[name].get("trainer.crop_size", 256)


def test_fine_tuning_takes_the_file_and_the_network_that_are_typed(composed) -> None:
    typed = ["restore_from=runs/a/best_model.pth", "model=lightweight_original", "optim.lr=1e-5"]
    config = composed("experiment=lightweight_strategy4_finetune", *VOC, *typed)
    assert config.restore_from == "runs/a/best_model.pth"
    assert (config.model.name, config.optim.lr) == ("lightweight_original", 1e-5)
    assert config.aug._target_ == "semiseg.aug.RandomCrop"  # the guide's enhanced one, not the network's own
