"""What a config gives the network."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from semiseg.builder import (
    Parts,
    build_method,
    build_model,
    check_batches,
    check_model,
    discriminator_optim,
    fit_to_data,
    model_node,
)
from semiseg.engine.settings import OptimConfig, TrainerConfig
from semiseg.errors import ConfigError
from semiseg.losses import SegmentationLoss
from semiseg.models import MultiHeadDeepLabV3Plus
from semiseg.pseudo_label import DiscriminatorGate, NoPseudoLabels, PseudoLabeler, SoftmaxThreshold

BUNDLE = SimpleNamespace(classes=SimpleNamespace(num_classes=3, names=("a", "b", "c")))


def config(**values: object) -> DictConfig:
    """V1's network on a small encoder."""
    node = {"_target_": "semiseg.models.DeepLabV2", "name": "v1", "recipe": {}, "encoder": "resnet18"}
    return OmegaConf.create({"model": node | {"encoder_weights": None, "freeze_bn_affine": None} | values})


@pytest.mark.parametrize("weights", ["none", None])
def test_no_pretrained_weights_as_a_word_or_null(weights: str | None) -> None:
    """The affine parameters of batch normalisation then train, at the start and when the run is resumed."""
    started, resumed = (build_model(config(encoder_weights=weights), 3, restored) for restored in (False, True))
    training = {name for name, parameter in started.named_parameters() if parameter.requires_grad}
    assert training == {name for name, parameter in resumed.named_parameters() if parameter.requires_grad}
    assert training == {name for name, _ in started.named_parameters()}


def test_the_network_gets_neither_its_name_nor_its_recipe() -> None:
    assert model_node(config()).keys() == {"_target_", "encoder", "encoder_weights", "freeze_bn_affine"}


def test_wrong_argument_is_found_without_building() -> None:
    with pytest.raises(ConfigError, match=r"^model\.output_stride is 'x'; it must be a whole number\.$"):
        check_model(config(output_stride="x"))


@pytest.mark.parametrize("key", ["ema_decay", "head_lr_mult"])
def test_a_setting_that_a_discriminator_has_no_use_for_is_refused(key: str) -> None:
    with pytest.raises(ConfigError, match=rf"pseudo_label\.optim\.{key} does nothing"):
        discriminator_optim(DiscriminatorGate(optim={"lr": 1e-4, key: 0.5}))


@pytest.mark.parametrize("setting", ["loss", "pseudo_label.st_loss"])
def test_class_weights_of_another_number_of_classes_are_refused_at_once(setting: str) -> None:
    losses = {each: SegmentationLoss(ce_weight=1.0) for each in ("loss", "pseudo_label.st_loss")}
    losses[setting] = SegmentationLoss(ce_weight=1.0, class_weights=[1, 2])
    parts = Parts(None, losses["loss"], SoftmaxThreshold(0.5, st_loss=losses["pseudo_label.st_loss"]))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=rf"^{setting}\.class_weights has 2 values and the model 3 classes"):
        fit_to_data(parts, BUNDLE, 10)  # type: ignore[arg-type]


@pytest.mark.parametrize(("labeler", "refused"), [(SoftmaxThreshold(0.5), True), (NoPseudoLabels(), False)])
def test_batches_of_one_are_refused_before_the_first_step(labeler: PseudoLabeler, refused: bool) -> None:
    """After a global pooling BatchNorm cannot train on one image."""
    student: Any = SimpleNamespace(smallest_batch=MultiHeadDeepLabV3Plus.smallest_batch)
    student.check_batch = partial(MultiHeadDeepLabV3Plus.check_batch, student)
    method: Any = SimpleNamespace(student=student, labeler=labeler)
    with pytest.raises(ConfigError, match="cannot train on a batch of 1 image") if refused else nullcontext():
        check_batches(method, TrainerConfig(max_steps=1, batch_size=2, unlabeled_batch_size=1))


def test_one_seed_gives_one_student_whatever_labels_it() -> None:
    """Comparisons of pseudo-labelers are paired by the seed."""
    whole = OmegaConf.merge(config(), {"resume": False, "restore_from": None})

    def start(labeler: PseudoLabeler) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        parts = Parts(aug=None, loss=SegmentationLoss(ce_weight=1.0), labeler=labeler)  # type: ignore[arg-type]
        return build_method(whole, parts, BUNDLE, OptimConfig(), total_steps=10).student.state_dict()  # type: ignore[arg-type]

    with_discriminator = start(DiscriminatorGate(optim={"lr": 1e-4}))
    assert all(torch.equal(value, with_discriminator[name]) for name, value in start(NoPseudoLabels()).items())
