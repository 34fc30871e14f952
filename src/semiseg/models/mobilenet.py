"""MobileNetV3-Small as a dilated segmentation encoder."""

from __future__ import annotations

from functools import partial

from torch import Tensor, nn
from torchvision.models import mobilenet_v3_small


class MobileNetV3SmallEncoder(nn.Module):
    """torchvision's features up to and including the 1x1 convolution 96 -> 576, dilated to output stride 16.

    [B, 3, H, W] -> feature maps of stride 4 (16 channels), 8 (24) and 16 (576). Keys of the state dict are
    torchvision's, so its ImageNet weights load as they are.

    BatchNorm keeps torchvision's eps, which those weights need, but moves its running statistics with momentum 0.1
    rather than 0.01: at 0.01 a run of a few hundred steps is evaluated on the statistics of its initialisation.
    """

    name = "mobilenet_v3_small"
    out_channels = (16, 24, 576)

    def __init__(self) -> None:
        super().__init__()
        norm = partial(nn.BatchNorm2d, eps=0.001, momentum=0.1)
        self.features = mobilenet_v3_small(weights=None, dilated=True, norm_layer=norm).features

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        stride4 = self.features[:2](image)
        stride8 = self.features[2:4](stride4)
        return stride4, stride8, self.features[4:](stride8)
