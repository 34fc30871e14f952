from __future__ import annotations

import torch
from torch import nn

from semiseg.models.blocks import ASPP, ConvBNReLU, DepthwiseSeparableConv, classifier, init_kaiming, resize


def test_resize_maps_corner_to_corner():
    features = torch.tensor([[0.0, 1.0], [2.0, 3.0]]).view(1, 1, 2, 2)
    resized = resize(features, like=torch.empty(1, 3, 3, 5))
    expected = [[0.0, 0.25, 0.5, 0.75, 1.0], [1.0, 1.25, 1.5, 1.75, 2.0], [2.0, 2.25, 2.5, 2.75, 3.0]]
    torch.testing.assert_close(resized[0, 0], torch.tensor(expected))


def test_convolutions_keep_the_size():
    x = torch.randn(2, 4, 11, 13)
    assert ConvBNReLU(4, 6, 3, dilation=5)(x).shape == (2, 6, 11, 13)
    assert ConvBNReLU(4, 6, 1)(x).shape == (2, 6, 11, 13)
    assert DepthwiseSeparableConv(4, 6)(x).shape == (2, 6, 11, 13)


def test_depthwise_separable_counts_as_in_the_guide():
    """3 x 3 x in + in x out, and BatchNorm's two a channel."""
    count = sum(p.numel() for p in DepthwiseSeparableConv(160, 128).parameters())
    assert count == 9 * 160 + 160 * 128 + 2 * 128


def test_aspp_joins_every_branch_and_the_pooled_image():
    torch.manual_seed(0)
    aspp = ASPP(4, 8, (2, 3), dropout=0.5).eval()
    x = torch.randn(1, 4, 6, 5)
    pooled = torch.relu(aspp.image_pool[1][1](aspp.image_pool[1][0](x.mean((2, 3), keepdim=True))))
    joined = torch.cat([*(branch(x) for branch in aspp.branches), pooled.expand(1, 8, 6, 5)], dim=1)
    torch.testing.assert_close(aspp(x), aspp.project(joined))
    assert [branch[0].dilation[0] for branch in aspp.branches] == [1, 2, 3]


def test_initialisation():
    conv = nn.Conv2d(64, 64, 3)
    init_kaiming(nn.Sequential(conv))
    assert abs(conv.weight.std().item() - (2 / (64 * 9)) ** 0.5) < 0.002
    assert conv.bias is not None and not conv.bias.any()
    small = classifier(512, 21)
    assert abs(small.weight.std().item() - 0.01) < 0.001
    assert small.bias is not None and not small.bias.any()
