"""DeepLabV2 with the S4GAN recipe's details (V1 and V2)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from semiseg.models.base import SegmentationModel, check_counts
from semiseg.models.blocks import classifier, resize
from semiseg.models.resnet import build_resnet


class DilatedSum(nn.Module):
    """3x3 convolutions of several dilations whose class scores are all summed: [B, in, h, w] -> [B, C, h, w].

    Source: DeepLabV2's ASPP-L (Chen et al. 2016).
    """

    def __init__(self, in_channels: int, num_classes: int, atrous_rates: Sequence[int]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(classifier(in_channels, num_classes, 3, dilation=rate) for rate in atrous_rates)

    def forward(self, features: Tensor) -> Tensor:
        return torch.stack([branch(features) for branch in self.branches]).sum(dim=0)


class DeepLabV2(SegmentationModel):
    """ResNet at output stride 8 and four summed dilated classifiers: [B, 3, H, W] -> [B, C, H, W].

    `freeze_bn_affine` freezes scale and shift of the encoder's BatchNorm layers (their running statistics still
    follow the data); left None, it does so when the encoder is pretrained, as the reference does. Atrous rates are
    in cells of the stride-8 feature map.

    Source: Chen et al. 2016; Mittal et al. 2019 (S4GAN). ResNet-101 with 21 classes: 44,048,532 parameters.

    Raises:
        ConfigError: unknown encoder or output stride.
        CheckpointError: the encoder's weights cannot be had.
    """

    def __init__(
        self,
        num_classes: int,
        encoder: str = "resnet101",
        encoder_weights: str | None = None,
        output_stride: int = 8,
        atrous_rates: Sequence[int] = (6, 12, 18, 24),
        freeze_bn_affine: bool | None = None,
    ) -> None:
        check_counts(atrous_rates=atrous_rates)
        resnet = build_resnet(encoder, output_stride)
        super().__init__(num_classes, resnet, encoder, encoder_weights)
        self.head = DilatedSum(resnet.out_channels[-1], num_classes, atrous_rates)
        pretrained = self.weights_report is not None
        if pretrained if freeze_bn_affine is None else freeze_bn_affine:
            _freeze_bn_affine(self.encoder)

    def forward(self, image: Tensor) -> Tensor:
        return resize(self.head(self.encoder(image)[-1]), like=image)

    def parameter_roles(self) -> dict[str, list[nn.Parameter]]:
        """The base class's split with the branches' biases apart: the recipe gives them x20 and no weight decay."""
        roles = super().parameter_roles()
        named = list(self.head.named_parameters())
        roles["head"] = [p for name, p in named if not name.endswith("bias")]
        roles["head_bias"] = [p for name, p in named if name.endswith("bias")]
        return roles


def _freeze_bn_affine(module: nn.Module) -> None:
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.weight.requires_grad_(False)
            layer.bias.requires_grad_(False)
