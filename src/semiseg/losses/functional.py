"""Cross-entropy, focal and Dice as pure functions of one log-softmax.

Shapes: B images, C classes. `nll` is the negative log-probability of each pixel's true class, [B, H, W], 0 where the
pixel is ignored; `pixel_weight` is the class weight of each pixel (1 without class weights), 0 where it is ignored.
Each returns a 0-d tensor that is 0 with a zero gradient when no pixel is valid, and none waits for the device.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from semiseg.contracts import IGNORE_INDEX

TINY = 1e-12  # keeps 0 / 0 at 0 where nothing is valid; far below any real sum of pixel weights


def pixel_nll(log_probs: Tensor, target: Tensor) -> Tensor:
    """Negative log-probability of the true class, [B, C, H, W] and [B, H, W] -> [B, H, W].

    Left unreduced on purpose: PyTorch's own reduction adds with atomics on CUDA and is not deterministic.
    """
    return F.nll_loss(log_probs, target, ignore_index=IGNORE_INDEX, reduction="none")


def pixel_weight(target: Tensor, valid: Tensor, class_weights: Tensor | None) -> Tensor:
    """Weight of each pixel by its class, 0 where it is not valid: [B, H, W] -> [B, H, W] float32."""
    if class_weights is None:
        return valid.float()
    return class_weights[target.masked_fill(~valid, 0)] * valid


def cross_entropy(nll: Tensor, pixel_weight: Tensor) -> Tensor:
    """Cross-entropy, divided by the sum of the pixel weights: the mean over valid pixels, as PyTorch weights it."""
    return _weighted_mean(nll, pixel_weight)


def focal(nll: Tensor, pixel_weight: Tensor, alpha: float, gamma: float) -> Tensor:
    """alpha * (1 - p)^gamma * nll of the softmax probability p of the true class (Lin et al. 2017, arXiv:1708.02002).

    Divided as cross-entropy is, by the sum of the pixel weights; alpha is one factor for all classes.
    """
    # The clamp keeps the gradient finite at p = 1 for a gamma below 1; there the loss itself is below float32's notice.
    miss = (-torch.expm1(-nll)).clamp_min(1e-6)
    return _weighted_mean(alpha * miss.pow(gamma) * nll, pixel_weight)


def dice(log_probs: Tensor, target: Tensor, valid: Tensor, smooth: float) -> Tensor:
    """Soft Dice, 1 - (2 overlap + smooth) / (predicted + true + smooth), of each class over the whole batch.

    The mean over the classes present in `target`: an absent class has no overlap to win and would only add noise.
    Every class counts the same whatever its size, so class weights do not enter (Milletari et al. 2016,
    arXiv:1606.04797, with the unsquared denominator).
    """
    class_ids = torch.arange(log_probs.shape[1], device=target.device).view(1, -1, 1, 1)
    truth = target.unsqueeze(1) == class_ids  # bool: an int64 one-hot would take eight times the memory
    probability = log_probs.exp() * valid.unsqueeze(1)
    overlap = (probability * truth).sum(dim=(0, 2, 3))
    true_size = truth.sum(dim=(0, 2, 3))
    score = (2 * overlap + smooth) / (probability.sum(dim=(0, 2, 3)) + true_size + smooth)
    return _weighted_mean(1 - score, (true_size > 0).float())


def _weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    return (values * weight).sum() / weight.sum().clamp_min(TINY)
