"""What a config gives the network."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from semiseg.builder import Parts, build_method, build_model, check_model, model_node
from semiseg.engine.settings import OptimConfig
from semiseg.errors import ConfigError
from semiseg.losses import SegmentationLoss
from semiseg.pseudo_label import DiscriminatorGate, NoPseudoLabels, PseudoLabeler


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


def test_one_seed_gives_one_student_whatever_labels_it() -> None:
    """Comparisons of pseudo-labelers are paired by the seed."""
    bundle = SimpleNamespace(classes=SimpleNamespace(num_classes=3, names=("a", "b", "c")))
    whole = OmegaConf.merge(config(), {"resume": False, "restore_from": None})

    def start(labeler: PseudoLabeler) -> dict[str, torch.Tensor]:
        torch.manual_seed(0)
        parts = Parts(aug=None, loss=SegmentationLoss(ce_weight=1.0), labeler=labeler)  # type: ignore[arg-type]
        return build_method(whole, parts, bundle, OptimConfig(), total_steps=10).student.state_dict()  # type: ignore[arg-type]

    with_discriminator = start(DiscriminatorGate(optim={"lr": 1e-4}))
    assert all(torch.equal(value, with_discriminator[name]) for name, value in start(NoPseudoLabels()).items())
