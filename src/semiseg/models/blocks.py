"""Convolution blocks that several networks share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def resize(features: Tensor, like: Tensor) -> Tensor:
    """Bilinear resize of `features` [B, C, h, w] to the height and width of `like`.

    Corners are aligned: a stride-s encoder centres cell i on pixel s * i, so a grid stretched corner to corner stays
    within a few pixels of where its features were read. Sizes 16n + 1 are exact.
    """
    return F.interpolate(features, size=like.shape[-2:], mode="bilinear", align_corners=True)


def init_kaiming(module: nn.Module) -> None:
    """Kaiming initialisation of every convolution below `module`, zero biases."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def classifier(in_channels: int, num_classes: int, kernel_size: int = 1, dilation: int = 1) -> nn.Conv2d:
    """Convolution with bias to class scores; N(0, 0.01) weights start training from near-uniform probabilities."""
    padding = dilation * (kernel_size // 2)
    conv = nn.Conv2d(in_channels, num_classes, kernel_size, padding=padding, dilation=dilation)
    nn.init.normal_(conv.weight, std=0.01)
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    return conv


class ConvBNReLU(nn.Sequential):
    """Convolution without bias, "same" padding, BatchNorm, ReLU: [B, in, H, W] -> [B, out, H, W]."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, dilation: int = 1) -> None:
        padding = dilation * (kernel_size // 2)
        super().__init__(
            nn.Conv2d(in_channels, out_channels, kernel_size, padding=padding, dilation=dilation, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )


class DepthwiseSeparableConv(nn.Sequential):
    """3x3 depthwise, then 1x1 pointwise convolution, one BatchNorm and ReLU: [B, in, H, W] -> [B, out, H, W]."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(
            nn.Conv2d(in_channels, in_channels, 3, padding=1, groups=in_channels, bias=False),
            nn.Conv2d(in_channels, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling (Chen et al. 2017): 1x1, one 3x3 a rate, image pooling; projected and dropped out.

    [B, in, H, W] -> [B, out, H, W]. In training B must exceed 1: image pooling leaves one value a channel and image.
    """

    def __init__(self, in_channels: int, out_channels: int, atrous_rates: Sequence[int], dropout: float) -> None:
        super().__init__()
        self.branches = nn.ModuleList([ConvBNReLU(in_channels, out_channels, 1)])
        self.branches.extend(ConvBNReLU(in_channels, out_channels, 3, dilation=rate) for rate in atrous_rates)
        self.image_pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), ConvBNReLU(in_channels, out_channels, 1))
        self.project = nn.Sequential(
            ConvBNReLU((len(self.branches) + 1) * out_channels, out_channels, 1), nn.Dropout(dropout)
        )

    def forward(self, features: Tensor) -> Tensor:
        height, width = features.shape[-2:]
        pooled = self.image_pool(features).expand(-1, -1, height, width)
        return self.project(torch.cat([*(branch(features) for branch in self.branches), pooled], dim=1))
