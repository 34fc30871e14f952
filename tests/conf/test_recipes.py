"""Every recipe composes, alone and with the others, and its settings are valid."""

from __future__ import annotations

from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from semiseg.config import build, conf_dir, settings, ungrouped
from semiseg.engine.settings import OptimConfig, RunConfig, TrainerConfig
from semiseg.losses import SegmentationLoss
from semiseg.overrides import words
from semiseg.pseudo_label import PseudoLabeler

SALAK = ["data=salak", "data.root=x"]
SYSTEMS = ["v1", "v2", "v3", "lightweight", "lightweight_original"]
GROUPS = ("model", "loss", "pseudo_label", "aug", "optim", "data", "trainer", "tracking", "experiment")
COMBINED = ("model", "loss", "pseudo_label")  # composed with each other, in a test of their own
NEEDED = {word: ["pseudo_label.teacher_run=x"] for word in ("distil", "distillation")}  # what a word does not know


def recipes() -> list[tuple[str, str]]:
    return [(group, word) for group in GROUPS for word in words(group)]


def header(path: Path) -> list[str]:
    """The comment lines a file begins with."""
    lines = path.read_text(encoding="utf-8").splitlines()
    comments = [line for line in lines if not line.startswith("# @package")]
    return comments[: next(i for i, line in enumerate(comments) if not line.startswith("#"))]


def check_settings(config: DictConfig) -> None:
    """Every node but data and model builds, every closed setting is valid."""
    settings(RunConfig, ungrouped(config), "")
    settings(TrainerConfig, config.trainer, "trainer")
    settings(OptimConfig, config.optim, "optim")
    assert isinstance(build(config.loss, "loss"), SegmentationLoss)
    labeler = build(config.pseudo_label, "pseudo_label")
    assert isinstance(labeler, PseudoLabeler)
    if labeler.optim is not None:
        settings(OptimConfig, labeler.optim, "pseudo_label.optim")
    assert callable(build(config.aug, "aug"))
    build(config.tracking, "tracking")


def test_every_folder_of_recipes_is_tested() -> None:
    assert {path.name for path in conf_dir().iterdir() if path.is_dir()} == {*GROUPS, "hydra", "sweep"}


@pytest.mark.parametrize(("group", "word"), [each for each in recipes() if each[0] not in COMBINED])
def test_recipe_composes_with_valid_settings(composed, group: str, word: str) -> None:
    config = composed(*(SALAK if group != "data" else ["++data.root=x"]), f"{group}={word}", *NEEDED.get(word, []))
    config.data.class_mapping = "x"
    check_settings(config)
    assert not OmegaConf.missing_keys(config)


@pytest.mark.parametrize(("group", "word"), recipes())
def test_recipe_begins_with_what_it_is_and_a_command(group: str, word: str) -> None:
    lines = header(conf_dir() / group / f"{word}.yaml")
    assert len(lines) >= 2
    assert lines[0].endswith((".", ")", "default.", ":"))
    assert any(line.startswith("#   ") for line in lines[1:])


def test_verbs_without_a_training_compose(composed) -> None:
    assert composed(verb="compare").runs == "runs"
    assert "data" in composed(verb="inspect")


@pytest.mark.parametrize("model", SYSTEMS)
@pytest.mark.parametrize("pseudo_label", words("pseudo_label"))
def test_every_model_takes_every_pseudo_label_and_loss(composed, model: str, pseudo_label: str) -> None:
    losses = words("loss")  # each loss meets each model once and each pseudo label once
    chosen = losses[(SYSTEMS.index(model) + words("pseudo_label").index(pseudo_label)) % len(losses)]
    needed = NEEDED.get(pseudo_label, [])
    config = composed(*SALAK, f"model={model}", f"pseudo_label={pseudo_label}", f"loss={chosen}", *needed)
    alone = OmegaConf.load(conf_dir() / "pseudo_label" / f"{pseudo_label}.yaml")
    assert config.model.name == model
    target = config.pseudo_label._target_
    assert OmegaConf.select(alone, "_target_", default=target) == target  # a recipe may take it from another
    for key, value in OmegaConf.load(conf_dir() / "loss" / f"{chosen}.yaml").items():
        assert key == "defaults" or config.loss[key] == value
    check_settings(config)
