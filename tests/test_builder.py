"""What a config gives the network."""

from __future__ import annotations

import pytest
from omegaconf import DictConfig, OmegaConf

from semiseg.builder import build_model, check_model, model_node
from semiseg.errors import ConfigError


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
