"""What a config gives the network."""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from semiseg.builder import (
    Parts,
    build_labeler,
    build_method,
    build_model,
    check_batches,
    check_model,
    discriminator_optim,
    fit_to_data,
    model_node,
)
from semiseg.data.split import Pools
from semiseg.engine.settings import OptimConfig, TrainerConfig
from semiseg.errors import ConfigError, DataError
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
        check_batches(method, TrainerConfig(max_steps=1, batch_size=2, unlabeled_batch_size=1), pools(2, 2))


def pools(train: int, unlabeled: int) -> Pools:
    return Pools(np.arange(train), np.arange(1), np.arange(unlabeled))


@pytest.mark.parametrize(
    ("train", "unlabeled", "said"),
    [
        (3, 9, "3 labelled patches do not fill a batch of 4: use trainer.batch_size=3 or less"),
        (1, 9, "1 labelled patches are too few: this network trains on batches of 2 or more"),
        (9, 3, "3 unlabelled patches do not fill a batch of 4: use trainer.unlabeled_batch_size=3 or less"),
        (9, 1, "1 unlabelled patches are too few: this network trains on batches of 2 or more"),
        (9, 0, "there are no unlabelled patches: add images without masks"),
    ],
)
def test_pools_that_do_not_fill_a_batch_are_refused_before_the_run_has_files(train, unlabeled, said) -> None:
    student = SimpleNamespace(smallest_batch=2, check_batch=lambda images: None)
    method: Any = SimpleNamespace(student=student, labeler=SoftmaxThreshold(0.5))
    trainer = TrainerConfig(max_steps=1, batch_size=4, unlabeled_batch_size=4)
    with pytest.raises(DataError, match=said):
        check_batches(method, trainer, pools(train, unlabeled))
    check_batches(method, trainer, pools(4, 4))


def test_the_loss_of_a_pseudo_labeler_is_named_as_it_is_set() -> None:
    whole = OmegaConf.create({"pseudo_label": {"_target_": "semiseg.pseudo_label.SoftmaxThreshold"}})
    for st_loss, said in (
        ({"ce_weight": 0.0}, r"^pseudo_label\.st_loss has no term: set pseudo_label\.st_loss\.ce_weight, "),
        ({"ce_weight": -1.0}, r"^pseudo_label\.st_loss\.ce_weight=-1"),
    ):
        whole.pseudo_label.st_loss = {"_target_": "semiseg.losses.SegmentationLoss", **st_loss}
        with pytest.raises(ConfigError, match=said):
            build_labeler(whole)


def test_one_seed_gives_one_student_whatever_labels_it() -> None:
    """Comparisons of pseudo-labelers are paired by the seed."""
    whole = OmegaConf.merge(config(), {"resume": False, "restore_from": None})

    def start(labeler: PseudoLabeler) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        parts = Parts(aug=None, loss=SegmentationLoss(ce_weight=1.0), labeler=labeler)  # type: ignore[arg-type]
        return build_method(whole, parts, BUNDLE, OptimConfig(), total_steps=10).student.state_dict()  # type: ignore[arg-type]

    with_discriminator = start(DiscriminatorGate(optim={"lr": 1e-4}))
    assert all(torch.equal(value, with_discriminator[name]) for name, value in start(NoPseudoLabels()).items())
