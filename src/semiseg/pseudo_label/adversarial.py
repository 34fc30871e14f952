"""The parts of S4GAN's adversarial game (Mittal et al. 2019, arXiv:1908.05724) as functions.

Shapes: U fake (unlabelled) images, R real (labelled) images, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def scale_over_batch(images: Tensor) -> Tensor:
    """Images scaled to [0, 1] by the smallest and largest value of the whole batch, [B, 3, H, W]."""
    return _min_max(images, dim=(0, 1, 2, 3))


def scale_each_image(images: Tensor) -> Tensor:
    """Images scaled to [0, 1], each by its own smallest and largest value, [B, 3, H, W]."""
    return _min_max(images, dim=(1, 2, 3))


def _min_max(images: Tensor, dim: tuple[int, ...]) -> Tensor:
    low = images.amin(dim=dim, keepdim=True)
    spread = images.amax(dim=dim, keepdim=True) - low
    return (images - low) / spread.clamp_min(1e-8)  # an image of one colour becomes 0


def one_hot_mask(mask: Tensor, num_classes: int) -> Tensor:
    """Ground truth as probability maps, all-zero on ignored pixels: [R, H, W] -> [R, C, H, W] float32."""
    class_ids = torch.arange(num_classes, device=mask.device).view(1, -1, 1, 1)
    return (mask.unsqueeze(1) == class_ids).float()


def feature_matching(real: Tensor, fake: Tensor) -> Tensor:
    """Mean over channels of |batch mean of real - batch mean of fake|: [R, F] and [U, F] -> 0-d."""
    return (real.float().mean(dim=0) - fake.float().mean(dim=0)).abs().mean()


def discriminator_loss(real_score: Tensor, fake_score: Tensor) -> Tensor:
    """Mean of the binary cross-entropies "real is real" and "fake is fake" of score logits [R] and [U]: 0-d."""
    return (_bce(real_score, 1.0) + _bce(fake_score, 0.0)) / 2


def _bce(score: Tensor, label: float) -> Tensor:
    return F.binary_cross_entropy_with_logits(score.float(), torch.full_like(score, label, dtype=torch.float32))


@contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """A graph built inside passes gradients through the module's parameters, never into them."""
    trainable = [parameter for parameter in module.parameters() if parameter.requires_grad]
    for parameter in trainable:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)
