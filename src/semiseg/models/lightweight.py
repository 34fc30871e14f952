"""The lightweight network: MobileNetV3-Small under a depthwise-separable decoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from semiseg.models.base import SegmentationModel, check_counts
from semiseg.models.blocks import ASPP, ConvBNReLU, DepthwiseSeparableConv, classifier, init_kaiming, resize
from semiseg.models.mobilenet import MobileNetV3SmallEncoder


class LightweightDSConv(SegmentationModel):
    """MobileNetV3-Small, narrow ASPP, stride-8 then stride-4 skip, separable fusion: [B, 3, H, W] -> [B, C, H, W].

    Source: the lightweight guide. With 21 classes: 2,516,853 parameters.

    Raises:
        ConfigError: (in training) a batch of one image.
        CheckpointError: the encoder's weights cannot be had.
    """

    smallest_batch = 2

    def __init__(
        self,
        num_classes: int,
        encoder_weights: str | None = None,
        aspp_channels: int = 128,
        atrous_rates: Sequence[int] = (6, 12),
        dropout: float = 0.1,
        skip_channels: int = 32,
        decoder_channels: int = 128,
    ) -> None:
        check_counts(
            aspp_channels=aspp_channels,
            atrous_rates=atrous_rates,
            skip_channels=skip_channels,
            decoder_channels=decoder_channels,
        )
        encoder = MobileNetV3SmallEncoder()
        super().__init__(num_classes, encoder, encoder.name, encoder_weights)
        low, mid, deep = encoder.out_channels
        self.aspp = ASPP(deep, aspp_channels, atrous_rates, dropout)
        self.mid_skip = ConvBNReLU(mid, skip_channels, 1)
        self.mid_fuse = DepthwiseSeparableConv(aspp_channels + skip_channels, decoder_channels)
        self.low_skip = ConvBNReLU(low, skip_channels, 1)
        self.low_fuse = DepthwiseSeparableConv(decoder_channels + skip_channels, decoder_channels)
        for module in (self.aspp, self.mid_skip, self.mid_fuse, self.low_skip, self.low_fuse):
            init_kaiming(module)
        self.classifier = classifier(decoder_channels, num_classes)

    def forward(self, image: Tensor) -> Tensor:
        if self.training:
            self.check_batch(len(image))
        low, mid, deep = self.encoder(image)
        features = resize(self.aspp(deep), like=mid)
        features = self.mid_fuse(torch.cat([features, self.mid_skip(mid)], dim=1))
        features = resize(features, like=low)
        features = self.low_fuse(torch.cat([features, self.low_skip(low)], dim=1))
        return resize(self.classifier(features), like=image)
