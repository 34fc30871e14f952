"""DeepLabV3+ with several voting heads (V3)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from segmentation_models_pytorch.decoders.deeplabv3.decoder import DeepLabV3PlusDecoder
from torch import Tensor, nn

from semiseg.errors import ConfigError
from semiseg.models.base import SegmentationModel, check_counts
from semiseg.models.blocks import classifier, init_kaiming, resize
from semiseg.models.resnet import build_resnet

MOST_HEADS = 64


class MultiHeadDeepLabV3Plus(SegmentationModel):
    """DeepLabV3+ encoder and decoder under K heads of dropout and 1x1 convolution: [B, 3, H, W] -> [K, B, C, H, W].

    The heads share the decoder's feature and differ by initialisation and dropout; one head still gives K = 1.
    Head k drops with probability `head_dropout[k]`; with more heads than values the list starts again.

    Source: Chen et al. 2018, with segmentation-models-pytorch's decoder; heads after DiverseNet (Ma et al. 2023).
    ResNet-50 with 3 heads and 7 classes: 26,682,725 parameters.

    Raises:
        ConfigError: unknown encoder, a setting out of range, or (in training) a batch of one image.
        CheckpointError: the encoder's weights cannot be had.
    """

    smallest_batch = 2

    def __init__(
        self,
        num_classes: int,
        encoder: str = "resnet50",
        encoder_weights: str | None = None,
        output_stride: int = 16,
        num_heads: int = 3,
        head_dropout: Sequence[float] = (0.10, 0.15, 0.20),
        atrous_rates: Sequence[int] = (6, 12, 18),
        decoder_channels: int = 256,
        aspp_dropout: float = 0.5,
    ) -> None:
        _check(num_heads, head_dropout, atrous_rates)
        check_counts(decoder_channels=decoder_channels, atrous_rates=atrous_rates)
        resnet = build_resnet(encoder, output_stride)
        super().__init__(num_classes, resnet, encoder, encoder_weights)
        self.decoder = DeepLabV3PlusDecoder(
            encoder_channels=resnet.out_channels,
            encoder_depth=5,
            out_channels=decoder_channels,
            atrous_rates=tuple(atrous_rates),
            output_stride=16 if output_stride == 16 else 8,
            aspp_separable=True,
            aspp_dropout=aspp_dropout,
        )
        init_kaiming(self.decoder)
        dropout = [head_dropout[k % len(head_dropout)] for k in range(num_heads)]
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Dropout(p), classifier(decoder_channels, num_classes)) for p in dropout
        )

    def forward(self, image: Tensor) -> Tensor:
        if self.training:
            self.check_batch(len(image))
        features = self.encoder(image)
        decoded = self._decode(deep=features[-1], shallow=features[2])
        logits = torch.stack([head(decoded) for head in self.heads])
        return resize(logits.flatten(0, 1), like=image).unflatten(0, logits.shape[:2])

    def _decode(self, deep: Tensor, shallow: Tensor) -> Tensor:
        """The decoder's own forward, resizing to the shallow map instead of by a fixed factor, for odd image sizes."""
        pyramid = resize(self.decoder.aspp(deep), like=shallow)
        return self.decoder.block2(torch.cat([pyramid, self.decoder.block1(shallow)], dim=1))


def _check(num_heads: int, head_dropout: Sequence[float], atrous_rates: Sequence[int]) -> None:
    if not 1 <= num_heads <= MOST_HEADS:
        raise ConfigError(f"model.num_heads={num_heads} is not possible: use 1 to {MOST_HEADS}")
    if len(head_dropout) == 0 or not all(0 <= p < 1 for p in head_dropout):
        raise ConfigError(f"model.head_dropout={list(head_dropout)} must hold one or more probabilities in [0, 1)")
    if len(atrous_rates) != 3:
        raise ConfigError(f"model.atrous_rates={list(atrous_rates)} must hold three rates, for example [6,12,18]")
