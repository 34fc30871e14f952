"""Networks of thousands of weights in the place of millions, for tests to which the size does not matter."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from segmentation_models_pytorch.encoders.resnet import resnet_encoders
from torch import Tensor, nn
from torchvision.models.resnet import ResNet

from semiseg.models.base import SegmentationModel
from semiseg.models.blocks import ConvBNReLU, resize
from semiseg.models.discriminator import Discriminator

ENCODER = "resnet18"  # the smallest that the knob model.encoder takes, made thinner still


class TinyNet(SegmentationModel):
    """[B, 3, H, W] -> [B, C, H, W], with what a checkpoint and a seed must bring back: averages and dropout."""

    def __init__(self, num_classes: int, encoder_weights: str | None, **others: int) -> None:
        """`others` are the settings of the network in whose place it stands."""
        encoder = nn.Sequential(ConvBNReLU(3, 8, 3), nn.MaxPool2d(2), ConvBNReLU(8, 8, 3))
        super().__init__(num_classes, encoder, "tiny", encoder_weights)
        self.head = nn.Sequential(nn.Dropout2d(0.2), nn.Conv2d(8, num_classes, 1))

    def forward(self, image: Tensor) -> Tensor:
        return resize(self.head(self.encoder(image)), like=image)


@contextmanager
def thin_networks() -> Iterator[None]:
    """ResNet-18 with an eighth of its channels and one block a stage, and a narrow discriminator."""
    make_layer = ResNet._make_layer

    def thin(self: ResNet, block: Any, planes: int, *args: Any, **kwargs: Any) -> Any:
        return make_layer(self, block, planes // 8, *args, **kwargs)

    params = resnet_encoders[ENCODER]["params"]
    slim = params | {"out_channels": [3, 64, 8, 16, 32, 64], "layers": [1, 1, 1, 1]}
    with (
        mock.patch.object(ResNet, "_make_layer", thin),
        mock.patch.dict(resnet_encoders[ENCODER], params=slim),
        mock.patch.object(Discriminator, "widths", (8, 8, 8, 8)),
    ):
        yield
