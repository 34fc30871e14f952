import math

import pytest
import torch
from torch import nn

from semiseg.pseudo_label import adversarial

IMAGES = torch.tensor([[0.0, 1.0, 2.0], [2.0, 3.0, 4.0]]).reshape(2, 3, 1, 1)


def test_images_are_scaled_by_the_range_of_the_batch_or_of_each():
    over_batch = adversarial.scale_over_batch(IMAGES).flatten().tolist()
    assert over_batch == pytest.approx([0.0, 0.25, 0.5, 0.5, 0.75, 1.0])
    assert adversarial.scale_each_image(IMAGES).flatten().tolist() == pytest.approx([0.0, 0.5, 1.0, 0.0, 0.5, 1.0])


def test_an_image_of_one_colour_is_zero_not_nan():
    assert (adversarial.scale_each_image(torch.full((1, 3, 2, 2), 0.7)) == 0).all()


def test_ignored_pixels_of_the_ground_truth_are_all_zero():
    maps = adversarial.one_hot_mask(torch.tensor([[[0, 2, 255]]]), num_classes=3)
    assert maps.shape == (1, 3, 1, 3) and maps.dtype == torch.float32
    assert maps[0, :, 0].T.tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 0]]


def test_feature_matching_compares_batch_means():
    real, fake = torch.tensor([[1.0, 5.0], [3.0, 1.0]]), torch.tensor([[0.0, 4.0]])
    assert adversarial.feature_matching(real, fake).item() == pytest.approx((2 + 1) / 2)


def test_discriminator_loss_halves_both_cross_entropies():
    real, fake = torch.tensor([2.0, -1.0]), torch.tensor([0.5])
    expected = (math.log1p(math.exp(-2)) + math.log1p(math.exp(1))) / 2 + math.log1p(math.exp(0.5))
    assert adversarial.discriminator_loss(real, fake).item() == pytest.approx(expected / 2)


def test_frozen_lets_gradient_through_but_not_in_and_restores():
    module = nn.Linear(2, 1)
    module.bias.requires_grad_(False)
    inputs = torch.ones(1, 2, requires_grad=True)
    with adversarial.frozen(module):
        output = module(inputs)
    assert module.weight.requires_grad and not module.bias.requires_grad
    output.sum().backward()
    assert torch.equal(inputs.grad, module.weight.detach()) and module.weight.grad is None
