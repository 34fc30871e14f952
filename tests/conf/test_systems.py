"""The systems a word selects are those of the published guides, cell by cell."""

from __future__ import annotations

from typing import Any

import pytest

from semiseg.config import build, flatten, plain
from semiseg.contracts import IGNORE_INDEX
from semiseg.errors import ConfigError

SALAK = ["data=salak", "data.root=x"]

NAMES = ("background", "Badan Air", "Bangunan", "Jalan", "Pohon Berinang", "Snake Fruit", "Tanah Terbuka")
THRESHOLDS = dict(zip(NAMES, (None, 0.60, 0.65, 0.70, 0.65, 0.55, 0.60), strict=True))
S4GAN = {
    "model._target_": "semiseg.models.DeepLabV2",
    "model.encoder": "resnet101",
    "model.output_stride": 8,
    "pseudo_label._target_": "semiseg.pseudo_label.DiscriminatorGate",
    "pseudo_label.threshold": 0.2,
    "pseudo_label.weight": 1.0,
    "pseudo_label.fm_weight": 0.1,
    "pseudo_label.gate_dropout": False,
    "pseudo_label.optim.optimizer": "adam",
    "pseudo_label.optim.lr": 1e-4,
    "pseudo_label.optim.betas": [0.9, 0.99],
    "loss.ce_weight": 1.0,
    "loss.dice_weight": 0.0,
    "loss.focal_weight": 0.0,
    "loss.class_weights": None,
    "aug._target_": "semiseg.aug.RandomCrop",
    "aug.flip": False,
    "aug.scale_range": None,
    "aug.color": 0.0,
    "optim.head_lr_mult": 10.0,
    "optim.head_bias_lr_mult": 20.0,
}
SGD = {
    "optim.optimizer": "sgd",
    "optim.lr": 2.5e-4,
    "optim.momentum": 0.9,
    "optim.weight_decay": 5e-4,
    "optim.encoder_lr_mult": 1.0,
}
STEPS = {"trainer.max_steps": 50_000, "trainer.max_epochs": None, "trainer.eval_every": 500}
PATCHES = {
    "trainer.batch_size": 8,
    "trainer.unlabeled_batch_size": 8,
    "trainer.crop_size": 256,
    "trainer.save_every": 5000,
    "trainer.save_latest_every": 100,
    "data.val_split": 0.2,
    "data.split_by": "source",
    "data.exclude_from_miou": [0],
    "data.class_thresholds": THRESHOLDS,
    "model.encoder_weights": "imagenet",
}
PLAIN = {"optim.ema_decay": None, "optim.grad_clip": None, "trainer.early_stop_patience": None}
STABILISED = {
    "optim.schedule": "cosine",
    "optim.warmup_steps": 1000,
    "optim.grad_clip": 10.0,
    "trainer.early_stop_patience": 10,
}
LIGHT = {
    "pseudo_label._target_": "semiseg.pseudo_label.NoPseudoLabels",
    "loss.ce_weight": 0.0,
    "loss.dice_weight": 0.0,
    "loss.focal_weight": 1.0,
    "optim.optimizer": "adamw",
    "optim.lr": 1e-4,
    "optim.schedule": "cosine",
    "trainer.max_steps": None,
    "trainer.eval_every": None,
}
SYSTEMS: dict[str, dict[str, Any]] = {
    "v1": {
        **PATCHES, **STEPS, **S4GAN, **SGD, **PLAIN,
        "optim.schedule": "polynomial",
        "optim.power": 0.9,
        "pseudo_label.threshold_from": None,
        "pseudo_label.weight_from": None,
        "pseudo_label.start_step": 1000,
        "pseudo_label.discriminator_start": 0,
        "pseudo_label.image_scaling": "batch",
        "pseudo_label.optim.schedule": "polynomial",
        "pseudo_label.optim.grad_clip": None,
    },
    "v2": {
        **PATCHES, **STEPS, **S4GAN, **SGD, **STABILISED,
        "optim.ema_decay": 0.999,
        "pseudo_label.threshold_from": 0.05,
        "pseudo_label.threshold_until": 0.6,
        "pseudo_label.weight_from": 0.1,
        "pseudo_label.weight_until": 0.4,
        "pseudo_label.start_step": 500,
        "pseudo_label.discriminator_start": 500,
        "pseudo_label.image_scaling": "image",
        "pseudo_label.optim.schedule": "cosine",
        "pseudo_label.optim.warmup_steps": 1000,
        "pseudo_label.optim.grad_clip": 10.0,
    },
    "v3": {
        **PATCHES, **STEPS, **SGD, **STABILISED,
        "optim.ema_decay": 0.9995,
        "optim.head_lr_mult": 10.0,
        "model._target_": "semiseg.models.MultiHeadDeepLabV3Plus",
        "model.encoder": "resnet50",
        "model.output_stride": 16,
        "model.num_heads": 3,
        "model.head_dropout": [0.10, 0.15, 0.20],
        "model.atrous_rates": [6, 12, 18],
        "pseudo_label._target_": "semiseg.pseudo_label.SoftmaxThreshold",
        "pseudo_label.class_thresholds": THRESHOLDS,
        "pseudo_label.threshold": 0.65,
        "pseudo_label.vote": "mean",
        "pseudo_label.teacher": "student",
        "pseudo_label.start_step": 500,
        "pseudo_label.weight": 1.0,
        "pseudo_label.st_loss": None,
        "loss.ce_weight": 0.4,
        "loss.dice_weight": 0.4,
        "loss.focal_weight": 0.2,
        "loss.focal_alpha": 0.25,
        "loss.focal_gamma": 2.0,
        "loss.class_weights": "balanced",
        "loss.head_loss": "each",
        "aug._target_": "semiseg.aug.MultiScaleCrop",
        "aug.flip": True,
    },
    "lightweight": {
        **PATCHES, **LIGHT, **PLAIN,
        "model._target_": "semiseg.models.LightweightDSConv",
        "optim.weight_decay": 1e-4,
        "trainer.max_epochs": 100,
        "aug._target_": "semiseg.aug.RandomCrop",
        "aug.flip": True,
        "aug.scale_range": [0.5, 2.0],
        "aug.color": 0.3,
    },
    "lightweight_original": {
        **PATCHES, **LIGHT, **PLAIN,
        "model._target_": "semiseg.models.LightweightOriginal",
        "trainer.max_epochs": 50,
        "aug._target_": "semiseg.aug.ResizeFlip",
        "aug.flip": True,
    },
}  # fmt: skip
LONG_NAMES = {
    "v1": "deeplabv2_r101_s4gan",
    "v3": "deeplabv3p_r50_multihead",
    "lightweight": "lightweight_dsconv",
}


@pytest.mark.parametrize("system", SYSTEMS)
def test_system_is_the_guides(composed, system: str) -> None:
    found = flatten(plain(composed(*SALAK, f"model={system}")))
    expected = flatten(SYSTEMS[system])
    assert {key: found[key] for key in expected} == expected


@pytest.mark.parametrize(("system", "network"), LONG_NAMES.items())
def test_networks_name_selects_the_systems_partners_too(composed, system: str, network: str) -> None:
    short, long = (plain(composed(*SALAK, f"model={word}", "name=same")) for word in (system, network))
    assert long["model"].pop("name") == network
    assert short["model"].pop("name") == system
    assert long == short


def test_ablations_pick_their_parts(composed) -> None:
    config = composed(*SALAK, "model=v1", "pseudo_label=softmax")
    assert config.model._target_ == "semiseg.models.DeepLabV2"
    assert config.pseudo_label._target_ == "semiseg.pseudo_label.SoftmaxThreshold"
    assert config.optim.schedule == "polynomial"
    config = composed(*SALAK, "model=v3", "loss=combined")
    assert config.model._target_ == "semiseg.models.MultiHeadDeepLabV3Plus"
    assert (config.loss.ce_weight, config.loss.dice_weight, config.loss.focal_weight) == (0.4, 0.4, 0.2)


def test_typed_values_win_over_every_recipe(composed) -> None:
    typed = ["trainer.max_steps=7", "optim.ema_decay=0.5", "pseudo_label.start_step=3", "optim.warmup_steps=2"]
    found = flatten(plain(composed("model=v2", *typed)))
    assert [found[override.split("=")[0]] for override in typed] == [7, 0.5, 3, 2]


def test_variation_3_1(composed) -> None:
    found = flatten(plain(composed(*SALAK, "experiment=v3_1")))
    expected = {
        "model.name": "v3",
        "pseudo_label.class_thresholds": dict(zip(NAMES, (None, 0.50, 0.55, 0.60, 0.55, 0.45, 0.50), strict=True)),
        "pseudo_label.weight": 1.5,
        "aug.size_max": 320,
        "optim.lr": 3e-4,
        "optim.warmup_steps": 1500,
        "trainer.max_steps": 75_000,
        "trainer.early_stop_patience": 40,
    }
    expected = flatten(expected)
    assert {key: found[key] for key in expected} == expected


def test_thresholds_of_other_classes_are_refused(composed) -> None:
    for overrides in (["data=dubai", "experiment=v3_1"], ["data=voc", "data.root=x", "experiment=v3_1"]):
        config = composed(*overrides)
        names = ["building", "land_unpaved", "road", "vegetation", "water"]
        with pytest.raises(ConfigError, match=r"Badan Air|background.*no class of the data"):
            build(config.pseudo_label, "pseudo_label").prepare(len(names), names, 10)


def test_thresholds_typed_as_a_list_replace_those_by_name(composed) -> None:
    for experiment in ([], ["experiment=v3_1"]):
        config = composed(*SALAK, *experiment, "pseudo_label.class_thresholds=[null,0.5]")
        assert config.pseudo_label.class_thresholds == [None, 0.5]


def test_whole_photographs_are_cropped_at_512(composed) -> None:
    assert composed("model=lightweight", "data=voc", "data.root=x").trainer.crop_size == 512


def test_demo_downloads_nothing_and_outlasts_its_warm_up(composed) -> None:
    config = composed()
    assert config.model.encoder_weights is None
    assert config.optim.warmup_steps < config.trainer.max_steps / 2
    assert config.pseudo_label.start_step < config.trainer.max_steps / 2


def test_ignored_pixels_are_255() -> None:
    assert IGNORE_INDEX == 255
