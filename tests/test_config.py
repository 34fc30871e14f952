"""What is wrong with a setting is said where it stands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from omegaconf import OmegaConf

from semiseg.config import build, check_arguments, check_missing, conf_dir, flatten, near, plain, resolved, settings
from semiseg.engine.settings import OptimConfig, RunConfig, TrainerConfig
from semiseg.errors import ConfigError, DataError


@dataclass
class Thing:
    """Something to instantiate that refuses a size of 0 and fails to find its data at a size of 1."""

    size: int

    def __post_init__(self) -> None:
        if self.size == 0:
            raise ConfigError("thing.size is 0.")
        if self.size == 1:
            raise DataError("no such folder")
        if self.size < 0:
            raise ValueError("size below 0")


@pytest.fixture
def thing(monkeypatch: pytest.MonkeyPatch) -> str:
    """Where Hydra finds `Thing`."""
    monkeypatch.setattr("semiseg.config.Thing", Thing, raising=False)
    return "semiseg.config.Thing"


def trainer(**values: Any) -> TrainerConfig:
    return settings(TrainerConfig, OmegaConf.create({"max_steps": 10} | values), "trainer")


def optim(**values: Any) -> OptimConfig:
    return settings(OptimConfig, OmegaConf.create(values), "optim")


def test_settings_take_a_node_a_dictionary_and_numbers_as_text() -> None:
    assert trainer(batch_size=3).batch_size == 3
    assert settings(OptimConfig, {"betas": [0.9, 0.99], "lr": "1e-4"}, "optim").lr == 1e-4


def test_interpolations_are_followed_outside_their_node() -> None:
    tree = OmegaConf.create({"model": {"steps": 7}, "trainer": {"max_steps": "${model.steps}"}})
    assert settings(TrainerConfig, tree.trainer, "trainer").max_steps == 7


def test_interpolation_that_leads_nowhere_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^trainer.*nowhere"):
        trainer(batch_size="${nowhere.batch_size}")


def test_unknown_key_names_near_and_valid_ones() -> None:
    with pytest.raises(ConfigError, match=r"^trainer\.max_step is no setting\. Did you mean max_steps .* Valid: accum"):
        trainer(max_step=3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: trainer(max_steps="many"), r"trainer\.max_steps is 'many'; it must be a whole number or null\."),
        (lambda: trainer(batch_size=None), r"trainer\.batch_size is null; it must be a whole number\."),
        (lambda: trainer(batch_size=0), r"trainer\.batch_size is 0; it must be 1 or more"),
        (lambda: trainer(max_steps=None), r"max_steps and trainer\.max_epochs are both null"),
        (lambda: trainer(max_steps=0), r"trainer\.max_steps is 0"),
        (lambda: trainer(eval_every=0), r"trainer\.eval_every is 0"),
        (lambda: trainer(crop_size=8), r"trainer\.crop_size is 8; it must be 32 or more"),
        (lambda: trainer(num_workers=-1), r"trainer\.num_workers is -1"),
        (lambda: trainer(precision="bf61"), r"trainer\.precision is 'bf61'; it must be one of auto, bf16"),
        (lambda: trainer(device="gpu"), r"trainer\.device is 'gpu'; it must be one of auto, cuda"),
        (lambda: optim(optimizer="lion"), r"optim\.optimizer is 'lion'"),
        (lambda: optim(schedule="poly"), r"optim\.schedule is 'poly'"),
        (lambda: optim(lr=-1), r"optim\.lr is -1\.0; it must be 0 or more"),
        (lambda: optim(grad_clip=0), r"optim\.grad_clip is 0"),
        (lambda: optim(ema_decay=1.0), r"optim\.ema_decay is 1\.0"),
        (lambda: optim(betas=[0.9]), r"optim\.betas is \[0\.9\]"),
        (lambda: optim(betas=["a", 0.9]), r"optim\.betas is \['a', 0\.9\]; it must be a list, each a number\."),
    ],
)
def test_bad_value_is_named_with_its_key_in_one_line(make, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [True, 1.5])
def test_a_seed_is_a_whole_number(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"^seed is (True|1\.5); it must be a whole number\.$"):
        settings(RunConfig, {"seed": value}, "")


def test_what_is_no_node_is_named() -> None:
    with pytest.raises(ConfigError, match=r"^model is null; it must be a mapping"):
        resolved(OmegaConf.create({"model": None}).model, "model")


def test_one_device_of_several_is_a_valid_device() -> None:
    assert trainer(device="cuda:1").device == "cuda:1"


def test_build_makes_what_the_node_names(thing: str) -> None:
    assert build(OmegaConf.create({"_target_": thing, "size": 3}), "data") == Thing(3)
    assert build({"_target_": thing}, "data", size=4) == Thing(4)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, r"^loss: .*missing 1 required .*'size'.*conf/loss/"),
        ({"size": 2, "sise": 3}, r"^loss\.sise is no setting\. Did you mean size\? Valid: size\.$"),
        ({"size": -1}, r"^loss: size below 0"),
        ({"size": 0}, r"^thing\.size is 0\.$"),
    ],
)
def test_constructors_complaint_becomes_a_config_error(thing: str, values: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(OmegaConf.create({"_target_": thing} | values), "loss")


@pytest.mark.parametrize(
    ("group", "key", "value", "message"),
    [
        ("model", "num_heads", "abc", r"^model\.num_heads is 'abc'; it must be a whole number\.$"),
        ("model", "num_heads", 2.5, r"^model\.num_heads is 2\.5; it must be a whole number\.$"),
        ("model", "encoder_weights", 3, r"^model\.encoder_weights is 3; it must be a text or null\.$"),
        ("loss", "ce_weight", None, r"^loss\.ce_weight is null; it must be a number\.$"),
        ("loss", "ce_weight", True, r"^loss\.ce_weight is True; it must be a number\.$"),
        ("loss", "cew", 1, r"^loss\.cew is no setting\. .*ce_weight"),
        ("pseudo_label", "st_loss.ce_weight", "x", r"^pseudo_label\.st_loss\.ce_weight is 'x'; it must be a number"),
    ],
)
def test_arguments_are_checked_before_anything_is_built(group: str, key: str, value: Any, message: str) -> None:
    targets = {
        "model": "semiseg.models.MultiHeadDeepLabV3Plus",
        "loss": "semiseg.losses.SegmentationLoss",
        "pseudo_label": "semiseg.pseudo_label.SoftmaxThreshold",
    }
    node = OmegaConf.create({"_target_": targets[group]})
    if key.startswith("st_loss."):
        node.st_loss = {"_target_": targets["loss"]}
    OmegaConf.update(node, key, value)
    with pytest.raises(ConfigError, match=message) as caught:
        check_arguments(node, group, ["num_classes"])
    assert "_target_" not in str(caught.value)
    assert "num_classes" not in str(caught.value)


def test_arguments_of_valid_kinds_pass() -> None:
    check_arguments({"_target_": "semiseg.losses.SegmentationLoss", "ce_weight": 1, "class_weights": [1, 2]}, "loss")
    check_arguments({"_target_": "collections.OrderedDict", "any": "thing"}, "loss")


def test_projects_own_errors_pass_unchanged(thing: str) -> None:
    with pytest.raises(DataError, match=r"^no such folder$"):
        build(OmegaConf.create({"_target_": thing, "size": 1}), "data")


@pytest.mark.parametrize("target", ["semiseg.losses.SegmentationLos", "semiseg.nowhere.Loss", "nowhere.Loss"])
def test_target_that_does_not_exist_is_named(target: str) -> None:
    with pytest.raises(ConfigError, match=target):
        build(OmegaConf.create({"_target_": target}), "loss")


def test_missing_values_are_all_named() -> None:
    tree = OmegaConf.create({"data": {"root": "???", "class_mapping": "???", "val_split": 0.2}})
    with pytest.raises(ConfigError, match=r"data\.class_mapping, data\.root.*data\.class_mapping=PATH"):
        check_missing(tree)
    tree.data.root = tree.data.class_mapping = "x"
    check_missing(tree)


def test_near_names_come_first() -> None:
    assert near("softmx", ["none", "softmax", "discriminator"]).startswith("Did you mean softmax? Valid: discr")
    assert near("xyz", ["none", "softmax"]) == "Valid: none, softmax."


def test_flatten_keeps_lists_and_dots_the_keys() -> None:
    tree = plain(OmegaConf.create({"a": {"b": {"c": 1}, "d": [1, {"e": 2}]}, "f": "${a.b.c}"}))
    assert flatten(tree) == {"a.b.c": 1, "a.d": [1, {"e": 2}], "f": 1}


def test_recipes_are_found() -> None:
    assert (conf_dir() / "train.yaml").is_file()
