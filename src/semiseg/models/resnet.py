"""ResNet encoders of segmentation-models-pytorch, by name."""

from __future__ import annotations

import difflib

from segmentation_models_pytorch.encoders import get_encoder
from segmentation_models_pytorch.encoders.resnet import ResNetEncoder, resnet_encoders

from semiseg.errors import ConfigError


def build_resnet(name: str, output_stride: int) -> ResNetEncoder:
    """ResNet or ResNeXt without its classifier, dilated to `output_stride` 8 or 16, randomly initialised (Kaiming).

    Called on [B, 3, H, W] it returns six feature maps; [2] has stride 4, [-1] `output_stride`.

    Raises:
        ConfigError: no such ResNet, or another output stride.
    """
    if name not in resnet_encoders:
        near = difflib.get_close_matches(name, resnet_encoders, n=2, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise ConfigError(f"model.encoder={name} is not a ResNet: {hint}Valid: {', '.join(resnet_encoders)}")
    if output_stride not in (8, 16):
        raise ConfigError(f"model.output_stride={output_stride} is not possible: use 8 or 16")
    # weights=None keeps smp from the network; weights come from semiseg.models.weights, with a report.
    encoder = get_encoder(name, weights=None, output_stride=output_stride)
    assert isinstance(encoder, ResNetEncoder)
    return encoder
