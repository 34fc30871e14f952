"""The network that the lightweight one was cut down from."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from semiseg.models.base import SegmentationModel, check_counts
from semiseg.models.blocks import ASPP, ConvBNReLU, classifier, init_kaiming, resize
from semiseg.models.mobilenet import MobileNetV3SmallEncoder


class LightweightOriginal(SegmentationModel):
    """MobileNetV3-Small under a full DeepLabV3+ decoder with one skip of stride 4: [B, 3, H, W] -> [B, C, H, W].

    Source: the lightweight guide's original model. With 21 classes: 6,831,509 parameters.

    Raises:
        ConfigError: (in training) a batch of one image.
        CheckpointError: the encoder's weights cannot be had.
    """

    smallest_batch = 2

    def __init__(
        self,
        num_classes: int,
        encoder_weights: str | None = None,
        aspp_channels: int = 256,
        atrous_rates: Sequence[int] = (6, 12, 18),
        dropout: float = 0.3,
        skip_channels: int = 48,
    ) -> None:
        check_counts(aspp_channels=aspp_channels, atrous_rates=atrous_rates, skip_channels=skip_channels)
        encoder = MobileNetV3SmallEncoder()
        super().__init__(num_classes, encoder, encoder.name, encoder_weights)
        low, _, deep = encoder.out_channels
        self.aspp = ASPP(deep, aspp_channels, atrous_rates, dropout)
        self.low_skip = ConvBNReLU(low, skip_channels, 1)
        self.fuse = nn.Sequential(
            ConvBNReLU(aspp_channels + skip_channels, aspp_channels, 3),
            ConvBNReLU(aspp_channels, aspp_channels, 3),
        )
        for module in (self.aspp, self.low_skip, self.fuse):
            init_kaiming(module)
        self.classifier = classifier(aspp_channels, num_classes)

    def forward(self, image: Tensor) -> Tensor:
        if self.training:
            self.check_batch(len(image))
        low, _, deep = self.encoder(image)
        features = resize(self.aspp(deep), like=low)
        features = self.fuse(torch.cat([features, self.low_skip(low)], dim=1))
        return resize(self.classifier(features), like=image)
