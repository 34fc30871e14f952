from __future__ import annotations

import pytest
import torch
from torch import nn

from semiseg.models import Discriminator


def test_parameter_count():
    assert sum(p.numel() for p in Discriminator(21).parameters()) == 2_778_561


@pytest.mark.parametrize("size", [(16, 16), (33, 50), (64, 96)])
def test_any_crop_gives_one_score_and_one_feature_an_image(size: tuple[int, int]):
    score, feature = Discriminator(7)(torch.rand(2, 10, *size))
    assert score.shape == (2,)
    assert feature.shape == (2, 512)


def test_layers_are_those_of_the_paper():
    layers = list(Discriminator(7).features)
    convs = [m for m in layers if isinstance(m, nn.Conv2d)]
    assert [m.out_channels for m in convs] == [64, 128, 256, 512]
    assert {(m.kernel_size, m.stride, m.padding) for m in convs} == {((4, 4), (2, 2), (1, 1))}
    assert all(m.bias is not None for m in convs)
    assert [type(m) for m in layers[3:6]] == [nn.Conv2d, nn.LeakyReLU, nn.Dropout2d]
    assert [m.p for m in layers if isinstance(m, nn.Dropout2d)] == [0.5] * 3
    assert [m.negative_slope for m in layers if isinstance(m, nn.LeakyReLU)] == [0.2] * 4
    assert isinstance(layers[-1], nn.LeakyReLU)


def test_score_is_a_logit_of_the_pooled_feature():
    torch.manual_seed(0)
    discriminator = Discriminator(3).eval()
    nn.init.constant_(discriminator.score.bias, 5.0)
    inputs = torch.rand(2, 6, 32, 32)
    score, feature = discriminator(inputs)
    torch.testing.assert_close(feature, discriminator.features(inputs).flatten(2).mean(2))
    torch.testing.assert_close(score, feature @ discriminator.score.weight[0] + 5.0)
    assert (score > 1).all()


def test_only_training_is_noisy():
    discriminator = Discriminator(3)
    inputs = torch.rand(2, 6, 32, 32)
    assert not torch.equal(discriminator.train()(inputs)[0], discriminator(inputs)[0])
    assert torch.equal(discriminator.eval()(inputs)[0], discriminator(inputs)[0])


def test_gradient_reaches_the_input_and_every_parameter():
    discriminator = Discriminator(3).eval()
    inputs = torch.rand(2, 6, 32, 32, requires_grad=True)
    discriminator(inputs)[0].sum().backward()
    assert inputs.grad is not None and inputs.grad.any()
    assert all(p.grad is not None and p.grad.any() for p in discriminator.parameters())
